#include "gateways/admin/org_routes.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "gateways/admin/org_entry.h"
#include "gateways/http/conditional.h"
#include "projectors/provisioning/org_json.h"
#include "schemas/base/status.h"
#include "schemas/base/text_codec.h"

namespace sluice::gateways {
namespace {

using OrderedJson = nlohmann::ordered_json;
using projectors::OrgEntry;
using projectors::OrgState;

std::string Dump(const OrderedJson& json) {
  return json.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
}

HttpResponse OrgAnswer(int status, const OrgId& org, std::string_view state, Offset position) {
  OrderedJson json;
  json["org"] = org.value();
  json["state"] = std::string(state);
  json["position"] = std::to_string(position.value());
  return HttpResponse{.status = status, .body = Dump(json)};
}

}  // namespace

std::string_view OrgRoutes::StateOf(const OrgEntry& entry, Offset applied) const {
  // Without a store here and without news of a remote one, what the directory says has to do.
  const bool known = applied_.Here(entry.org) || applied != kNoOffset;
  const bool being_made = entry.state == OrgState::kReady && known && applied < entry.opened;
  return projectors::OrgStateName(being_made ? OrgState::kProvisioning : entry.state);
}

absl::StatusOr<Answer> OrgRoutes::Put(RequestContext& context) const {
  ASSIGN_OR_RETURN(const OrgId org, context.Org());
  ASSIGN_OR_RETURN(const auto wait, WaitOf(context.http));
  v1::ProvisioningRequest request;
  // All that can be wrong with the request is looked at before it is appended, the wait too.
  ASSIGN_OR_RETURN(*request.mutable_open_org(), projectors::ParseOrg(context.body));
  SetPreconditions(context.http, request);
  ASSIGN_OR_RETURN(const auto outcome, directory_.Request(org, std::move(request),
                                                          provisioning_timeout_, context.Cause()));
  RETURN_IF_ERROR(outcome.status);
  const auto entry = directory_.directory().Find(org);
  if (entry == nullptr) {
    return absl::InternalError("an accepted organisation is not in the directory");
  }
  const Offset position = std::max(outcome.changes_offset, entry->last_control);
  const std::string etag = outcome.etag.empty() ? EtagOf(*entry, "org") : outcome.etag;
  const auto answered = [this, org, entry, position, etag](bool done, Offset applied) {
    HttpResponse response = OrgAnswer(done ? 200 : 202, org,
                                      done ? StateOf(*entry, applied) : "provisioning", position);
    AddEtag(etag, response);
    return response;
  };
  if (!wait.has_value()) {
    return answered(outcome.existed, applied_.Applied(org));
  }
  Answer answer(answered(false, kNoOffset));
  answer.wait = AnswerWait{.reached = applied_.Reached(org, position),
                           .timeout = *wait,
                           .finish = [answered, position](bool reached, HttpResponse& response) {
                             response = answered(reached, position);
                           }};
  return answer;
}

// Not known where the organisation is not served now: here, or at all.
std::optional<uint64_t> OrgRoutes::RecordsOf(const OrgEntry& entry) const {
  if (entry.state != OrgState::kReady) {
    return 0;
  }
  if (!applied_.Current(entry.org)) {
    return std::nullopt;
  }
  const auto snapshot = stores_->Snapshot(entry.org);
  if (snapshot.ok()) {
    return (*snapshot)->applied().records;
  }
  return absl::IsNotFound(snapshot.status()) ? std::optional<uint64_t>(0) : std::nullopt;
}

nlohmann::ordered_json OrgRoutes::Describe(const OrgEntry& entry, Offset applied) const {
  OrderedJson json;
  json["org"] = entry.org.value();
  json["display_name"] = entry.display_name;
  json["state"] = std::string(StateOf(entry, applied));
  json["incarnation"] = entry.incarnation;
  json["position"] =
      std::to_string(std::max({entry.last_control, applied, last_change_(entry.org)}).value());
  if (applied_.Known(entry.org)) {
    json["applied"] = std::to_string(applied.value());
  }
  return json;
}

absl::StatusOr<Answer> OrgRoutes::Get(RequestContext& context) const {
  ASSIGN_OR_RETURN(const OrgId org, context.Org());
  ASSIGN_OR_RETURN(const auto entry, FindOrg(directory_.directory(), org));
  OrderedJson json = Describe(*entry, applied_.Applied(org));
  json["entities"] = entry->model->entities().size();
  json["profiles"] = entry->model->profiles().size();
  json["roles"] = entry->model->roles().size();
  if (const std::optional<uint64_t> records = RecordsOf(*entry); records.has_value()) {
    json["records"] = *records;
  }
  if (!applied_.Here(org) && served_at_) {
    if (const auto url = served_at_(org); url.has_value()) {
      json["served_at"] = *url;
    }
  }
  HttpResponse response{.body = Dump(json)};
  AddEtag(EtagOf(*entry, "org"), response);
  return response;
}

absl::StatusOr<Answer> OrgRoutes::List(RequestContext& context) const {
  ASSIGN_OR_RETURN(const size_t page_size, PageSizeOf(context.http));
  std::string after;
  if (const auto token = context.http.Query("page_token"); token.has_value() && !token->empty()) {
    std::optional<std::string> decoded = DecodeBase64Url(*token);
    if (!decoded.has_value() || !OrgId::Parse(*decoded).ok()) {
      return absl::InvalidArgumentError("page_token is not one that this server gave");
    }
    after = *std::move(decoded);
  }
  // One more than the page: whether there is a next one is known without asking for it.
  auto entries = directory_.directory().List(after, page_size + 1);
  if (context.principal != nullptr && !context.principal->org.empty()) {
    // A token of one organisation sees that one alone.
    entries.clear();
    const absl::StatusOr<OrgId> own = OrgId::Parse(context.principal->org);
    if (auto entry = own.ok() ? directory_.directory().Find(*own) : nullptr;
        entry != nullptr && own->value() > after) {
      entries.push_back(std::move(entry));
    }
  }
  const bool more = entries.size() > page_size;
  if (more) {
    entries.pop_back();
  }
  OrderedJson orgs = OrderedJson::array();
  for (const auto& entry : entries) {
    // A page is not to open a thousand stores, and close those that others use.
    orgs.push_back(Describe(*entry, applied_.KnownApplied(entry->org)));
  }
  OrderedJson json;
  json["orgs"] = std::move(orgs);
  json["next_page_token"] = more ? EncodeBase64Url(entries.back()->org.value()) : std::string();
  return HttpResponse{.body = Dump(json)};
}

bool OrgRoutes::IsClosed(const OrgId& org, uint32_t incarnation) const {
  const auto entry = directory_.directory().Find(org);
  return entry == nullptr || entry->incarnation != incarnation || entry->state == OrgState::kClosed;
}

absl::StatusOr<Answer> OrgRoutes::Delete(RequestContext& context) const {
  ASSIGN_OR_RETURN(const OrgId org, context.Org());
  ASSIGN_OR_RETURN(const auto wait, WaitOf(context.http));
  v1::ProvisioningRequest request;
  request.mutable_close_org();
  SetPreconditions(context.http, request);
  ASSIGN_OR_RETURN(const auto outcome, directory_.Request(org, std::move(request),
                                                          provisioning_timeout_, context.Cause()));
  RETURN_IF_ERROR(outcome.status);
  const auto entry = directory_.directory().Find(org);
  if (entry == nullptr) {
    return absl::InternalError("a closing organisation is not in the directory");
  }
  const Offset position = std::max(outcome.changes_offset, entry->last_control);
  Answer answer(OrgAnswer(202, org, "closing", position));
  if (wait.has_value()) {
    answer.wait = AnswerWait{
        .reached = [this, org,
                    incarnation = entry->incarnation] { return IsClosed(org, incarnation); },
        .timeout = *wait,
        .finish =
            [org, position](bool closed, HttpResponse& response) {
              response =
                  OrgAnswer(closed ? 200 : 202, org, closed ? "closed" : "closing", position);
            }};
  }
  return answer;
}

}  // namespace sluice::gateways
