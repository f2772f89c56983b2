#include "gateways/sync/op_json.h"

#include <charconv>

#include "schemas/base/json_writer.h"
#include "schemas/base/status.h"
#include "schemas/row_codec.h"

namespace sluice::gateways {
namespace {

void AppendHead(std::string_view op, std::string_view entity, std::string_view key,
                Position position, std::string* out) {
  *out += op;
  *out += entity;  // a name of the schema: nothing in it needs an escape
  *out += R"(","key":)";
  AppendJsonString(key, out);
  *out += R"(,"position":")";
  char digits[40];
  char* end = std::to_chars(digits, digits + 20, position.offset.value()).ptr;
  *end++ = '.';
  end = std::to_chars(end, digits + sizeof(digits), position.index).ptr;
  out->append(digits, end);
}

}  // namespace

absl::Status AppendPut(const schemas::EntitySchema& schema,
                       std::span<const schemas::AttributeId> denied, std::string_view key,
                       Position position, std::string_view row, std::string* out) {
  const size_t before = out->size();
  AppendHead(R"({"op":"put","entity":")", schema.name(), key, position, out);
  *out += R"(","row":)";
  if (absl::Status status = schemas::AppendRowJson(schema, row, denied, out); !status.ok()) {
    out->resize(before);
    return status;
  }
  out->push_back('}');
  return absl::OkStatus();
}

void AppendRemove(std::string_view entity, std::string_view key, Position position,
                  std::string* out) {
  AppendHead(R"({"op":"remove","entity":")", entity, key, position, out);
  *out += R"("})";
}

}  // namespace sluice::gateways
