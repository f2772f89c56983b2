#include "gateways/sources/source_service.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "projectors/provisioning/decide_source.h"
#include "projectors/work/work_schedule.h"
#include "schemas/base/json_writer.h"
#include "schemas/base/status.h"

namespace sluice::gateways {

SourceService::SourceService(SourceServiceOptions options, Deps deps)
    : options_(options),
      deps_(std::move(deps)),
      board_(deps_.log.PartitionCount(eventlog::Topic::kWork)) {
  for (Connector* const connector : deps_.connectors) {
    connectors_.emplace(connector->kind(), connector);
  }
  for (int32_t p = 0; p < deps_.log.PartitionCount(eventlog::Topic::kWork); ++p) {
    const PartitionId partition(p);
    followers_.push_back(std::make_unique<projectors::WorkFollower>(
        deps_.log, deps_.clock, partition,
        projectors::WorkFollower::Folds{
            .begin = [this, partition](bool whole) { board_.Begin(partition, whole); },
            .apply =
                [this, partition](const std::vector<eventlog::StoredEvent>& events) {
                  board_.Apply(partition, events);
                }}));
  }
}

SourceService::~SourceService() { Stop(); }

void SourceService::Start() {
  for (const auto& follower : followers_) {
    follower->Start();
  }
}

void SourceService::Stop() {
  stopping_ = true;
  for (const auto& follower : followers_) {
    follower->RequestStop();
  }
  for (const auto& follower : followers_) {
    follower->Stop();
  }
}

absl::StatusOr<Connector*> SourceService::ConnectorOf(const OrgId& org,
                                                      const v1::SourceSettings& settings,
                                                      bool tenant) const {
  const auto found = connectors_.find(settings.kind());
  if (found == connectors_.end()) {
    return Invalid("source_not_allowed", "this server runs no sources of kind {}",
                   QuoteForError(settings.kind()));
  }
  RETURN_IF_ERROR(found->second->Validate(settings, org, tenant));
  return found->second;
}

absl::StatusOr<Secrets> SourceService::Open(const OrgId& org,
                                            const v1::SourceDefined& defined) const {
  Secrets secrets;
  for (const v1::SealedSecret& sealed : defined.secrets()) {
    ASSIGN_OR_RETURN(
        SecretText secret,
        deps_.sealer.Open({org.value(), defined.settings().name(), sealed.name()}, sealed));
    secrets.emplace(sealed.name(), std::move(secret));
  }
  return secrets;
}

absl::StatusOr<v1::ProvisioningRequest> SourceService::MakePut(const OrgId& org,
                                                               std::string_view name,
                                                               std::string_view json,
                                                               bool tenant) const {
  ASSIGN_OR_RETURN(const ParsedSource parsed, ParseSource(name, json, options_.interval_min));
  RETURN_IF_ERROR(ConnectorOf(org, parsed.settings, tenant).status());
  v1::ProvisioningRequest request;
  auto& put = *request.mutable_put_source();
  *put.mutable_settings() = parsed.settings;
  put.set_keep_secrets(!parsed.secrets.has_value());
  if (parsed.secrets.has_value()) {
    for (const auto& [secret_name, secret] : *parsed.secrets) {
      ASSIGN_OR_RETURN(*put.add_secrets(),
                       deps_.sealer.Seal({org.value(), std::string(name), secret_name}, secret));
    }
  }
  return request;
}

absl::StatusOr<v1::ProvisioningRequest> SourceService::MakeEntity(const projectors::OrgEntry& entry,
                                                                  const std::string& name,
                                                                  const std::string& entity,
                                                                  bool enabled,
                                                                  std::string_view json) const {
  ASSIGN_OR_RETURN(const projectors::OrgSource source, projectors::FindSource(entry, name));
  v1::SourceSettings settings = source.defined->settings();
  const auto found = std::ranges::find(*settings.mutable_entities(), entity,
                                       [](const v1::SourceEntity& one) { return one.name(); });
  v1::SourceEntity current;
  current.set_name(entity);
  if (found != settings.mutable_entities()->end()) {
    current = *found;
  }
  if (enabled) {
    ASSIGN_OR_RETURN(current, ChangeSourceEntity(current, json, options_.interval_min));
  } else {
    current.set_disabled(true);
  }
  if (found != settings.mutable_entities()->end()) {
    *found = std::move(current);
  } else if (enabled || settings.all_entities()) {  // else it is not read anyway
    *settings.add_entities() = std::move(current);
  }
  RETURN_IF_ERROR(ConnectorOf(entry.org, settings, /*tenant=*/false).status());
  v1::ProvisioningRequest request;
  const auto etag = entry.etags.find("source/" + name);
  request.set_if_match(etag == entry.etags.end() ? "*" : etag->second);
  auto& put = *request.mutable_put_source();
  *put.mutable_settings() = std::move(settings);
  put.set_keep_secrets(true);
  return request;
}

absl::StatusOr<v1::ProvisioningRequest> SourceService::MakeReseal(const projectors::OrgEntry& entry,
                                                                  const std::string& name) const {
  ASSIGN_OR_RETURN(const projectors::OrgSource source, projectors::FindSource(entry, name));
  ASSIGN_OR_RETURN(const Secrets secrets, Open(entry.org, *source.defined));
  v1::ProvisioningRequest request;
  const auto etag = entry.etags.find("source/" + name);
  request.set_if_match(etag == entry.etags.end() ? "*" : etag->second);
  auto& put = *request.mutable_put_source();
  put.mutable_settings()->set_name(name);
  put.set_reseal(true);
  for (const auto& [secret_name, secret] : secrets) {
    ASSIGN_OR_RETURN(*put.add_secrets(),
                     deps_.sealer.Seal({entry.org.value(), name, secret_name}, secret));
  }
  return request;
}

absl::StatusOr<std::string> SourceService::Show(const projectors::OrgEntry& entry,
                                                const std::string& name) const {
  ASSIGN_OR_RETURN(const projectors::OrgSource source, projectors::FindSource(entry, name));
  const PartitionId partition = deps_.log.PartitionFor(eventlog::Topic::kWork, entry.org.value());
  const std::map<std::string, projectors::StreamWork> works =
      board_.StreamsOf(partition, entry.org, entry.incarnation, name);
  const auto connector = connectors_.find(source.defined->settings().kind());
  const SystemTime now = deps_.clock.Now();
  std::map<std::string, StreamStatus> streams;
  for (const KnownSource& known : KnownSourcesOf(entry)) {
    if (known.defined != source.defined) {
      continue;
    }
    const bool by_entity = connector == connectors_.end() || connector->second->by_entity();
    for (const projectors::ScheduledStream& stream :
         StreamsOf(known, by_entity, options_.intervals)) {
      StreamStatus& status = streams[stream.key.stream];
      const auto work = works.find(stream.key.stream);
      // What is told of a former epoch is of other rows.
      if (work != works.end() && work->second.epoch == stream.epoch) {
        status.work = work->second;
        const auto& open = work->second.open;
        status.queued = open.has_value() && !work->second.running &&
                        SystemTime(std::chrono::microseconds(open->due_us())) <= now &&
                        work->second.not_before <= now;
      }
      status.next_run =
          projectors::NextSlot(status.work.has_value() ? &*status.work : nullptr, stream, now);
    }
  }
  const auto etag = entry.etags.find("source/" + name);
  return SourceToJson(*source.defined, etag == entry.etags.end() ? "" : etag->second, streams);
}

absl::StatusOr<SourceContext> SourceService::ContextOf(const projectors::OrgEntry& entry,
                                                       const std::string& name,
                                                       std::string_view json, bool tenant) const {
  SourceContext context;
  context.org = entry.org;
  context.incarnation = entry.incarnation;
  if (json.empty()) {
    ASSIGN_OR_RETURN(const projectors::OrgSource source, projectors::FindSource(entry, name));
    context.settings = source.defined->settings();
    RETURN_IF_ERROR(ConnectorOf(entry.org, context.settings, tenant).status());
    ASSIGN_OR_RETURN(context.secrets, Open(entry.org, *source.defined));
    return context;
  }
  ASSIGN_OR_RETURN(ParsedSource parsed, ParseSource(name, json, options_.interval_min));
  RETURN_IF_ERROR(ConnectorOf(entry.org, parsed.settings, tenant).status());
  context.settings = std::move(parsed.settings);
  if (parsed.secrets.has_value()) {
    context.secrets = *std::move(parsed.secrets);
  } else if (const auto source = entry.sources.find(name);
             source != entry.sources.end() && source->second.defined->secrets_size() > 0) {
    // Else who may ask, and does not know them, would have them sent to a host of his own.
    RETURN_IF_ERROR(
        projectors::CheckSecretsStay(source->second.defined->settings(), context.settings));
    ASSIGN_OR_RETURN(context.secrets, Open(entry.org, *source->second.defined));
  }
  return context;
}

absl::StatusOr<std::string> SourceService::Check(const projectors::OrgEntry& entry,
                                                 const std::string& name, std::string_view json,
                                                 bool tenant) {
  ASSIGN_OR_RETURN(const SourceContext context, ContextOf(entry, name, json, tenant));
  Connector& connector = *connectors_.find(context.settings.kind())->second;
  struct Place {
    explicit Place(std::atomic<size_t>& the_count) : count(the_count), number(++the_count) {}
    ~Place() { --count; }
    std::atomic<size_t>& count;
    const size_t number;
  } place(checks_);
  if (place.number > options_.checks_max) {
    return Error(absl::StatusCode::kUnavailable, "too_busy",
                 "as many checks of sources are under way as may be: try again later");
  }
  const SteadyTime until = deps_.clock.SteadyNow() + options_.check_timeout;
  absl::StatusOr<SourceOffer> offer = connector.Check(
      context, [this, until] { return stopping_ || deps_.clock.SteadyNow() >= until; });
  if (absl::IsCancelled(offer.status())) {
    offer = Error(absl::StatusCode::kUnavailable, "source_timeout",
                  "the source did not answer all that was asked in time");
  }
  return OfferToJson(offer);
}

}  // namespace sluice::gateways
