#include "gateways/admin/org_routes.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <thread>

#include "absl/strings/escaping.h"
#include "eventlog/base/text_values.h"
#include "gateways/admin/conditional.h"
#include "schemas/status.h"

namespace sluice::gateways {
namespace {

using Json = nlohmann::ordered_json;
using projectors::OrgEntry;
using projectors::OrgState;

constexpr size_t kBodyBytesMax = 16 << 10;
constexpr size_t kDisplayNameBytesMax = 512;
constexpr int64_t kPageSizeDefault = 100;
constexpr int64_t kPageSizeMax = 1'000;

absl::Status OrgNotFound(const OrgId& org) {
  return Error(absl::StatusCode::kNotFound, "org_not_found",
               fmt::format("there is no organisation '{}'", org.value()));
}

std::string Dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

// The display name of a PUT's body; empty where none is given.
absl::StatusOr<std::string> ParseDisplayName(const std::string& body) {
  if (body.empty()) {
    return std::string();
  }
  const Json json = Json::parse(body, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) {
    return Error(absl::StatusCode::kInvalidArgument, "invalid_json",
                 "the body must be an object, such as {\"display_name\":\"Contoso\"}");
  }
  std::string name;
  for (const auto& [member, value] : json.items()) {
    if (member != "display_name" || !value.is_string()) {
      return Error(absl::StatusCode::kInvalidArgument, "invalid_argument",
                   fmt::format("'{}': the body has one member, display_name, a string", member));
    }
    name = value.get<std::string>();
  }
  if (name.size() > kDisplayNameBytesMax) {
    return Error(absl::StatusCode::kInvalidArgument, "invalid_argument",
                 fmt::format("display_name has {} bytes, at most {} are taken", name.size(),
                             kDisplayNameBytesMax));
  }
  return name;
}

HttpResponse OrgAnswer(int status, const OrgId& org, std::string_view state, Offset position) {
  Json json;
  json["org"] = org.value();
  json["state"] = std::string(state);
  json["position"] = std::to_string(position.value());
  return HttpResponse{.status = status, .body = Dump(json)};
}

}  // namespace

std::string_view OrgRoutes::StateOf(const OrgEntry& entry, Offset applied) const {
  // Without a store here and without news of a remote one, what the directory says has to do.
  const bool being_made =
      entry.state == OrgState::kReady && stores_ != nullptr && applied < entry.opened;
  return projectors::OrgStateName(being_made ? OrgState::kProvisioning : entry.state);
}

absl::StatusOr<HttpResponse> OrgRoutes::Put(RequestContext& context) const {
  ASSIGN_OR_RETURN(const OrgId org, context.Org());
  ASSIGN_OR_RETURN(const auto wait, WaitOf(context.http));
  ASSIGN_OR_RETURN(const std::string body, context.http.ReadWholeBody(kBodyBytesMax));
  v1::ProvisioningRequest request;
  ASSIGN_OR_RETURN(*request.mutable_open_org()->mutable_display_name(), ParseDisplayName(body));
  SetPreconditions(context.http, request);
  ASSIGN_OR_RETURN(const auto outcome,
                   directory_.Request(org, std::move(request), provisioning_timeout_));
  RETURN_IF_ERROR(outcome.status);
  const auto entry = directory_.directory().Find(org);
  if (entry == nullptr) {
    return absl::InternalError("an accepted organisation is not in the directory");
  }
  const Offset position = std::max(outcome.changes_offset, entry->last_control);
  const bool applied = wait.has_value() && applied_.Wait(org, position, *wait, context.http);
  const bool done = wait.has_value() ? applied : outcome.existed;
  HttpResponse response =
      OrgAnswer(done ? 200 : 202, org,
                done ? StateOf(*entry, applied ? position : applied_.Applied(org)) : "provisioning",
                position);
  AddEtag(outcome.etag.empty() ? EtagOf(*entry, "org") : outcome.etag, response);
  return response;
}

absl::StatusOr<HttpResponse> OrgRoutes::Get(RequestContext& context) const {
  ASSIGN_OR_RETURN(const OrgId org, context.Org());
  const auto entry = directory_.directory().Find(org);
  if (entry == nullptr) {
    return OrgNotFound(org);
  }
  const Offset applied = applied_.Applied(org);
  uint64_t records = 0;
  if (stores_ != nullptr && entry->state == OrgState::kReady) {
    if (const auto snapshot = stores_->Snapshot(org); snapshot.ok()) {
      records = (*snapshot)->applied().records;
    }
  }
  Json json;
  json["org"] = org.value();
  json["display_name"] = entry->display_name;
  json["state"] = std::string(StateOf(*entry, applied));
  json["incarnation"] = entry->incarnation;
  json["position"] =
      std::to_string(std::max({entry->last_control, applied, last_change_(org)}).value());
  json["applied"] = std::to_string(applied.value());
  json["entities"] = entry->model->entities().size();
  json["profiles"] = entry->model->profiles().size();
  json["roles"] = entry->model->roles().size();
  json["records"] = records;
  HttpResponse response{.body = Dump(json)};
  AddEtag(EtagOf(*entry, "org"), response);
  return response;
}

absl::StatusOr<HttpResponse> OrgRoutes::List(RequestContext& context) const {
  int64_t page_size = kPageSizeDefault;
  if (const auto text = context.http.Query("page_size"); text.has_value()) {
    ASSIGN_OR_RETURN(page_size, ParseInt64(*text));
    if (page_size < 1) {
      return Error(absl::StatusCode::kInvalidArgument, "invalid_argument",
                   "page_size must be at least 1");
    }
    page_size = std::min(page_size, kPageSizeMax);
  }
  std::string after;
  if (const auto token = context.http.Query("page_token"); token.has_value() && !token->empty()) {
    if (!absl::WebSafeBase64Unescape(*token, &after) || !OrgId::Parse(after).ok()) {
      return Error(absl::StatusCode::kInvalidArgument, "invalid_argument",
                   "page_token is not one that this server gave");
    }
  }
  auto entries = directory_.directory().List(after, static_cast<size_t>(page_size) + 1);
  const bool more = entries.size() > static_cast<size_t>(page_size);
  if (more) {
    entries.pop_back();
  }
  Json orgs = Json::array();
  for (const auto& entry : entries) {
    const Offset applied = applied_.Applied(entry->org);
    Json item;
    item["org"] = entry->org.value();
    item["display_name"] = entry->display_name;
    item["state"] = std::string(StateOf(*entry, applied));
    item["incarnation"] = entry->incarnation;
    item["position"] =
        std::to_string(std::max({entry->last_control, applied, last_change_(entry->org)}).value());
    item["applied"] = std::to_string(applied.value());
    orgs.push_back(std::move(item));
  }
  Json json;
  json["orgs"] = std::move(orgs);
  json["next_page_token"] =
      more ? absl::WebSafeBase64Escape(entries.back()->org.value()) : std::string();
  return HttpResponse{.body = Dump(json)};
}

bool OrgRoutes::WaitClosed(const OrgId& org, uint32_t incarnation,
                           std::chrono::milliseconds timeout, const HttpRequest& request) const {
  constexpr std::chrono::milliseconds kLook{10};
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  while (true) {
    const auto entry = directory_.directory().Find(org);
    if (entry == nullptr || entry->incarnation != incarnation ||
        entry->state == OrgState::kClosed) {
      return true;
    }
    if (request.stopping() || std::chrono::steady_clock::now() >= deadline) {
      return false;
    }
    std::this_thread::sleep_for(kLook);
  }
}

absl::StatusOr<HttpResponse> OrgRoutes::Delete(RequestContext& context) const {
  ASSIGN_OR_RETURN(const OrgId org, context.Org());
  ASSIGN_OR_RETURN(const auto wait, WaitOf(context.http));
  v1::ProvisioningRequest request;
  request.mutable_close_org();
  SetPreconditions(context.http, request);
  ASSIGN_OR_RETURN(const auto outcome,
                   directory_.Request(org, std::move(request), provisioning_timeout_));
  RETURN_IF_ERROR(outcome.status);
  const auto entry = directory_.directory().Find(org);
  if (entry == nullptr) {
    return absl::InternalError("a closing organisation is not in the directory");
  }
  const Offset position = std::max(outcome.changes_offset, entry->last_control);
  const bool closed = wait.has_value() && WaitClosed(org, entry->incarnation, *wait, context.http);
  return OrgAnswer(closed ? 200 : 202, org, closed ? "closed" : "closing", position);
}

}  // namespace sluice::gateways
