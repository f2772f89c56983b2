#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <set>
#include <string>
#include <unordered_set>

#include "schemas/attribute_type.h"
#include "schemas/base/ascii.h"
#include "schemas/entity_schema.h"

// An entity's schema as a .proto file, for those who read row bytes in their own language.
namespace sluice::schemas {
namespace {

struct ProtoType {
  v1::AttributeType type;
  std::string_view name;
  std::string_view meaning = "";
};
// All others are a string.
constexpr ProtoType kTypes[] = {
    {v1::ATTRIBUTE_TYPE_INT32, "int32"},
    {v1::ATTRIBUTE_TYPE_INT64, "int64"},
    {v1::ATTRIBUTE_TYPE_DOUBLE, "double"},
    {v1::ATTRIBUTE_TYPE_BOOL, "bool"},
    {v1::ATTRIBUTE_TYPE_DECIMAL, "string",
     "decimal: canonical text, at most 38 digits, no exponent"},
    {v1::ATTRIBUTE_TYPE_DATETIME, "sfixed64", "datetime: microseconds since 1970-01-01T00:00:00Z"},
    {v1::ATTRIBUTE_TYPE_DATE, "sint32", "date: days since 1970-01-01"},
    {v1::ATTRIBUTE_TYPE_TIME, "uint64", "time: microseconds since midnight"},
    {v1::ATTRIBUTE_TYPE_UUID, "bytes", "uuid: 16 bytes"},
    {v1::ATTRIBUTE_TYPE_BYTES, "bytes"},
};

// What protoc (proto3, 3.21) compares to tell that two fields would share a name in JSON.
std::string ProtoNameClass(std::string_view name) {
  std::string folded;
  for (const char c : name) {
    if (c != '_') {
      folded.push_back(ToLower(c));
    }
  }
  return folded;
}

// The attribute's name where protoc takes it beside those before it, otherwise with its id behind.
std::string FieldName(const v1::Attribute& attribute, std::unordered_set<std::string>* taken) {
  std::string name = attribute.name();
  while (!taken->insert(ProtoNameClass(name)).second) {
    name.append(fmt::format("_{}", attribute.id()));
  }
  return name;
}

// "2, 5 to 7": ids that were given and are no attribute's any more.
std::string ReservedIds(const v1::EntitySchema& schema) {
  std::set<uint32_t> live;
  for (const v1::Attribute& attribute : schema.attributes()) {
    live.insert(attribute.id());
  }
  live.insert(schema.next_attribute_id());
  std::string reserved;
  uint32_t first = 1;
  for (const uint32_t id : live) {
    if (id > first) {
      reserved.append(reserved.empty() ? "" : ", ");
      reserved.append(id == first + 1 ? fmt::format("{}", first)
                                      : fmt::format("{} to {}", first, id - 1));
    }
    first = id + 1;
  }
  return reserved;
}

}  // namespace

std::string EntitySchemaToProtoFile(const v1::EntitySchema& schema, std::string_view package) {
  std::string message = schema.name();
  if (message.front() >= 'a' && message.front() <= 'z') {
    message.front() = static_cast<char>(message.front() - 32);
  }
  std::string file = fmt::format(
      "// Reads the rows of entity \"{}\" as Sluice keeps and sends them. A null attribute is "
      "absent.\n// A field's number is the attribute's id, which is never given again.\n"
      "syntax = \"proto3\";\n\n",
      schema.name());
  if (!package.empty()) {
    file.append(fmt::format("package {};\n\n", package));
  }
  file.append(fmt::format("message {} {{\n", message));
  if (const std::string reserved = ReservedIds(schema); !reserved.empty()) {
    file.append(fmt::format("  reserved {};\n", reserved));
  }
  std::unordered_set<std::string> taken;
  for (const v1::Attribute& attribute : schema.attributes()) {
    const auto* const known = std::ranges::find(kTypes, attribute.type(), &ProtoType::type);
    const std::string_view type = known == std::end(kTypes) ? "string" : known->name;
    std::string comment(known == std::end(kTypes) ? "" : known->meaning);
    if (attribute.id() == schema.primary_key()) {
      comment = comment.empty() ? "primary key" : fmt::format("primary key; {}", comment);
    }
    if (!attribute.references().empty()) {
      comment.append(comment.empty() ? "" : "; ");
      comment.append(fmt::format("key of {}", attribute.references()));
    }
    file.append(fmt::format("  optional {} {} = {} [json_name = \"{}\"];{}{}\n", type,
                            FieldName(attribute, &taken), attribute.id(), attribute.name(),
                            comment.empty() ? "" : "  // ", comment));
  }
  file.append("}\n");
  return file;
}

}  // namespace sluice::schemas
