#include "gateways/debezium/tenant_router.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <string>
#include <utility>

#include "schemas/base/ascii.h"
#include "schemas/base/json_writer.h"
#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

namespace ondemand = simdjson::ondemand;

constexpr std::string_view kPlace = "{}";

absl::Status TenantUnknown(std::string_view why) {
  return Error(absl::StatusCode::kInvalidArgument, "tenant_unknown", why);
}

std::string Fill(const v1::TenantRule& rule, std::string_view text) {
  std::string id = rule.organisation().empty() ? std::string(kPlace) : rule.organisation();
  const size_t at = id.find(kPlace);
  return at == std::string::npos ? id : id.replace(at, kPlace.size(), text);
}

}  // namespace

TenantRouter::TenantRouter(v1::TenantRule rule) : rule_(std::move(rule)) {}

absl::StatusOr<OrgId> TenantRouter::OrgOf(std::string_view json) const {
  ondemand::parser parser;
  const simdjson::padded_string padded(json);
  ondemand::document document;
  ondemand::value value;
  ondemand::json_type type{};
  if (parser.iterate(padded).get(document) || document[rule_.column()].get(value) ||
      value.type().get(type)) {
    return TenantUnknown(fmt::format("the row has no column {}", QuoteForError(rule_.column())));
  }
  std::string_view text;
  if (type == ondemand::json_type::string) {
    if (value.get_string().get(text)) {
      return TenantUnknown("it is no text");
    }
  } else if (type == ondemand::json_type::number) {
    text = TrimBlanks(value.raw_json_token(), " \t\r\n");
  } else {
    return TenantUnknown(
        fmt::format("{} is null, or neither text nor a number", QuoteForError(rule_.column())));
  }
  auto org = OrgId::Parse(Fill(rule_, text));
  return org.ok() ? org
                  : TenantUnknown(fmt::format("{} {} names no organisation", rule_.column(),
                                              QuoteForError(text)));
}

absl::Status CheckTenantRule(const v1::TenantRule& rule) {
  const bool has_place =
      rule.organisation().empty() || rule.organisation().find(kPlace) != std::string::npos;
  return has_place && OrgId::Parse(Fill(rule, "1")).ok()
             ? absl::OkStatus()
             : Error(absl::StatusCode::kInvalidArgument, "invalid_argument",
                     fmt::format("{} is no template of organisations' ids: it needs {{}}, and "
                                 "lower-case letters, digits and hyphens around it",
                                 QuoteForError(rule.organisation())));
}

}  // namespace sluice::gateways
