#include "gateways/odata/edm_type.h"

#include <algorithm>
#include <charconv>

#include "schemas/base/ascii.h"
#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

struct TypeRow {
  std::string_view name;
  EdmType type;
  v1::AttributeType attribute;
};

constexpr TypeRow kTypes[] = {
    {"Edm.String", EdmType::kString, v1::ATTRIBUTE_TYPE_STRING},
    {"Edm.Guid", EdmType::kGuid, v1::ATTRIBUTE_TYPE_UUID},
    {"Edm.Binary", EdmType::kBinary, v1::ATTRIBUTE_TYPE_BYTES},
    {"Edm.Boolean", EdmType::kBoolean, v1::ATTRIBUTE_TYPE_BOOL},
    {"Edm.Byte", EdmType::kInteger, v1::ATTRIBUTE_TYPE_INT32},
    {"Edm.SByte", EdmType::kInteger, v1::ATTRIBUTE_TYPE_INT32},
    {"Edm.Int16", EdmType::kInteger, v1::ATTRIBUTE_TYPE_INT32},
    {"Edm.Int32", EdmType::kInteger, v1::ATTRIBUTE_TYPE_INT32},
    {"Edm.Int64", EdmType::kInt64, v1::ATTRIBUTE_TYPE_INT64},
    {"Edm.Single", EdmType::kDouble, v1::ATTRIBUTE_TYPE_DOUBLE},
    {"Edm.Double", EdmType::kDouble, v1::ATTRIBUTE_TYPE_DOUBLE},
    {"Edm.Decimal", EdmType::kDecimal, v1::ATTRIBUTE_TYPE_DECIMAL},
    {"Edm.Date", EdmType::kDate, v1::ATTRIBUTE_TYPE_DATE},
    {"Edm.TimeOfDay", EdmType::kTimeOfDay, v1::ATTRIBUTE_TYPE_TIME},
    {"Edm.DateTimeOffset", EdmType::kDateTimeOffset, v1::ATTRIBUTE_TYPE_DATETIME},
    {"Edm.Duration", EdmType::kDuration, v1::ATTRIBUTE_TYPE_STRING},
};

// base64url or base64, padded or not, as padded base64.
std::string StandardBase64(std::string_view text) {
  std::string base64(text.substr(0, text.find_last_not_of('=') + 1));
  std::ranges::replace(base64, '-', '+');
  std::ranges::replace(base64, '_', '/');
  base64.append((4 - base64.size() % 4) % 4, '=');
  return base64;
}

// Seconds may be left out: "10:00" is "10:00:00". `time` is where the time of day begins.
std::string WithSeconds(std::string_view text, size_t time) {
  std::string whole(text);
  const bool no_seconds = text.size() >= time + 5 && text[time + 2] == ':' &&
                          IsDigit(text[time + 4]) &&
                          (text.size() == time + 5 || text[time + 5] != ':');
  return no_seconds ? whole.insert(time + 5, ":00") : whole;
}

std::string NameOf(const CsdlEnum& members, int64_t value) {
  for (const auto& [name, number] : members.members) {
    if (number == value) {
      return name;
    }
  }
  if (!members.is_flags || value <= 0) {
    return {};
  }
  // Flags: names whose bits make up the value, in the order of the document.
  std::string names;
  int64_t rest = value;
  for (const auto& [name, number] : members.members) {
    if (number > 0 && (number & value) == number && (number & rest) != 0) {
      names.append(names.empty() ? "" : ",").append(name);
      rest &= ~number;
    }
  }
  return rest == 0 ? names : std::string();
}

absl::StatusOr<std::string> MemberText(const CsdlEnum* members, std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) {
    return std::string(text);  // names, which a service may add to without a word
  }
  std::string name = members == nullptr ? std::string() : NameOf(*members, value);
  return name.empty() ? absl::StatusOr<std::string>(
                            TypeMismatch("is the number of no member of its enumeration"))
                      : name;
}

}  // namespace

std::optional<EdmType> EdmTypeFromName(std::string_view name) {
  const auto* const row = std::ranges::find(kTypes, name, &TypeRow::name);
  return row == std::end(kTypes) ? std::nullopt : std::optional(row->type);
}

v1::AttributeType AttributeTypeOf(EdmType type) {
  const auto* const row = std::ranges::find(kTypes, type, &TypeRow::type);
  // An enumeration has a name of its own; its members' names are texts.
  return row == std::end(kTypes) ? v1::ATTRIBUTE_TYPE_STRING : row->attribute;
}

bool IsNumeric(EdmType type) {
  return type == EdmType::kInteger || type == EdmType::kInt64 || type == EdmType::kDouble ||
         type == EdmType::kDecimal;
}

absl::StatusOr<std::string> FieldTextOf(EdmType type, const CsdlEnum* members,
                                        std::string_view text) {
  switch (type) {
    case EdmType::kBinary:
      return StandardBase64(text);
    case EdmType::kTimeOfDay:
      return WithSeconds(text, 0);
    case EdmType::kDateTimeOffset:
      return WithSeconds(text, std::string_view("2026-01-31T").size());
    case EdmType::kEnum:
      return MemberText(members, text);
    default:
      return std::string(text);
  }
}

}  // namespace sluice::gateways
