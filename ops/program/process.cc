#include "ops/program/process.h"

#include <fmt/format.h>
#include <prometheus/registry.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/node_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "eventlog/kafka/loss_doubt.h"
#include "eventlog/kafka/record_consumer.h"
#include "eventlog/log.h"
#include "eventlog/static_partition_group.h"
#include "gateways/admin/admin_server.h"
#include "gateways/auth/authenticator.h"
#include "gateways/debezium/debezium_connector.h"
#include "gateways/events/event_service.h"
#include "gateways/http/http_types.h"
#include "gateways/odata/odata_connector.h"
#include "gateways/outbound/address_rule.h"
#include "gateways/outbound/outbound_client.h"
#include "gateways/secrets/sealer.h"
#include "gateways/sources/source_runner.h"
#include "gateways/sources/source_service.h"
#include "gateways/sync/sync_server.h"
#include "ops/program/descriptors.h"
#include "ops/program/event_wiring.h"
#include "ops/program/files.h"
#include "ops/program/open_log.h"
#include "ops/program/serving.h"
#include "ops/program/waiting_listener.h"
#include "projectors/nodes/node_announcer.h"
#include "projectors/provisioning/provisioning.h"
#include "projectors/staging/staging_projector.h"
#include "projectors/store/store_manager.h"
#include "schemas/base/backoff.h"
#include "schemas/base/boot_time_clock.h"
#include "schemas/base/clock.h"
#include "schemas/base/files.h"
#include "schemas/base/json_writer.h"
#include "schemas/base/status.h"
#include "schemas/base/text_values.h"

namespace sluice::ops {
namespace {

constexpr auto kConnectRetryFirst = std::chrono::milliseconds(500);
constexpr auto kConnectRetryMax = std::chrono::seconds(2);
constexpr auto kReadyWait = std::chrono::seconds(30);
constexpr auto kNearEndAlone = std::chrono::seconds(60);
// Of the log, when it is compared with a store: whoever needs that comes again.
constexpr auto kComparePatience = std::chrono::seconds(2);

bool HasRole(const Config& config, std::string_view role) {
  return std::any_of(config.roles.begin(), config.roles.end(),
                     [&](const std::string& have) { return have == "all" || have == role; });
}

// Stops what there is of `parts`, all at the same time.
template <typename... Parts>
void StopTogether(Parts*... parts) {
  std::vector<std::thread> threads;
  threads.reserve(sizeof...(parts));
  const auto stop = [&threads](auto* part) {
    if (part == nullptr) {
      return;
    }
    try {
      threads.emplace_back([part] { part->Stop(); });
    } catch (const std::system_error&) {
      part->Stop();  // no thread is to be had: one after the other then
    }
  };
  (stop(parts), ...);
  for (std::thread& thread : threads) {
    thread.join();
  }
}

std::string Url(const std::string& listen, int port) {
  return fmt::format("http://{}:{}", listen.substr(0, listen.rfind(':')), port);
}

// Where other machines find what listens on `listen`: by this one's name where it listens on all
// addresses.
std::string AnnouncedUrl(const std::string& listen, int port) {
  const std::string host = listen.substr(0, listen.rfind(':'));
  std::array<char, 256> name{};
  if ((host.empty() || host == "0.0.0.0" || host == "[::]" || host == "::") &&
      ::gethostname(name.data(), name.size() - 1) == 0) {
    return fmt::format("http://{}:{}", name.data(), port);
  }
  return Url(listen, port);
}

// Doubts of the log's end by what clients say to have seen. They may say what they like: so these
// are not the log's own, and nobody's claims count for another organisation's clients. Thread-safe.
class ClientClaims {
 public:
  eventlog::LossDoubt& DoubtOf(const OrgId& org) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    return doubts_.try_emplace(org.value(), nullptr).first->second;
  }

 private:
  absl::Mutex mutex_;
  absl::node_hash_map<std::string, eventlog::LossDoubt> doubts_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

struct Process::Impl {
  Config config;
  RealClock clock;
  BootTimeClock boot_clock;  // by which folds and nodes know how long ago something was
  std::shared_ptr<prometheus::Registry> registry = std::make_shared<prometheus::Registry>();
  std::string node_id;

  Serving::Parts parts;
  Serving serving{parts};

  // In the order of their making; the destructor takes them down in the reverse one.
  std::unique_ptr<eventlog::Log> log;
  std::unique_ptr<projectors::StoreManager> stores;
  std::unique_ptr<gateways::Authenticator> authenticator;
  std::unique_ptr<projectors::DirectoryFollower> directory;
  std::unique_ptr<eventlog::PartitionGroup> staging_group;
  std::unique_ptr<projectors::StagingProjector> staging;
  std::unique_ptr<eventlog::PartitionGroup> provisioning_group;
  std::unique_ptr<projectors::ProvisioningProjector> provisioning;
  std::unique_ptr<projectors::NodeDirectory> nodes;
  std::unique_ptr<projectors::NodeAnnouncer> announcer;
  std::unique_ptr<gateways::Sealer> sealer;
  std::unique_ptr<gateways::OutboundClient> outbound;
  std::vector<std::unique_ptr<gateways::Connector>> connectors;
  std::unique_ptr<gateways::SourceService> source_service;
  std::unique_ptr<gateways::EventService> events;
  std::unique_ptr<eventlog::PartitionGroup> source_group;
  std::unique_ptr<gateways::SourceRunner> source_runner;
  std::unique_ptr<gateways::AdminServer> admin;
  ClientClaims claims;
  std::unique_ptr<gateways::SyncServer> sync;
  int admin_port = 0;
  int sync_port = 0;
  absl::Mutex serving_mutex;
  // Who is told when this process may answer for others than before; nullptr: nobody.
  gateways::SyncServer* told ABSL_GUARDED_BY(serving_mutex) = nullptr;

  ~Impl() { Stop(); }

  absl::Status Start(const std::function<bool()>& stopping);
  absl::Status ConnectLog(const std::function<bool()>& stopping);
  absl::Status StartStores();
  absl::Status StartProjectors();
  void StartAnnouncer();
  absl::Status MakeConnectors();
  absl::Status StartSources();
  std::optional<gateways::AppliedGate::Applied> AppliedOf(const OrgId& org) const;
  absl::Status StartAdmin();
  absl::Status StartSync();
  void TellOfServing() ABSL_LOCKS_EXCLUDED(serving_mutex);
  std::vector<std::pair<std::string, std::function<absl::Status()>>> HealthChecks();
  void AwaitReady(const std::function<bool()>& stopping);
  void Stop();
};

// Whoever waits for the ready file may expect answers, not 503: but a damaged store or a long
// rebuild must not keep the others' requests away for long.
void Process::Impl::AwaitReady(const std::function<bool()>& stopping) {
  const auto checks = HealthChecks();
  const auto deadline = std::chrono::steady_clock::now() + kReadyWait;
  const auto ready = [&] {
    return std::all_of(checks.begin(), checks.end(),
                       [](const auto& check) { return check.second().ok(); });
  };
  while (!ready() && !stopping() && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

// The brokers may come later than we do: until then say so, and try again.
absl::Status Process::Impl::ConnectLog(const std::function<bool()>& stopping) {
  std::unique_ptr<WaitingListener> listener;
  Backoff retry(kConnectRetryFirst, kConnectRetryMax);
  while (true) {
    auto opened = OpenLog(config, registry);
    if (opened.ok()) {
      log = *std::move(opened);
      parts.log = log.get();
      return absl::OkStatus();
    }
    if (config.log.kind != "kafka" || !absl::IsUnavailable(opened.status())) {
      return opened.status();
    }
    spdlog::warn("waiting_for_log reason=\"{}\"", Message(opened.status()));
    if (listener == nullptr) {
      ASSIGN_OR_RETURN(const ListenAddress address, ParseListenAddress(config.admin.listen));
      ASSIGN_OR_RETURN(listener, WaitingListener::Start(address.host, address.port));
    }
    listener->SetReason(fmt::format("log: {}", gateways::PublicReason(opened.status())));
    const auto wait = retry.Next();
    for (auto waited = std::chrono::milliseconds(0); waited < wait;
         waited += std::chrono::milliseconds(50)) {
      if (stopping()) {
        return absl::CancelledError("stopped while waiting for the log");
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
  }
}

absl::Status Process::Impl::StartStores() {
  projectors::StoreOptions options;
  options.path = config.data_dir + "/stores";
  options.log_id = log->id();
  options.former_log_ids = log->FormerIds();
  options.block_cache_bytes = static_cast<size_t>(config.staging.block_cache_bytes);
  options.write_buffer_bytes = static_cast<size_t>(config.staging.write_buffer_bytes);
  options.open_stores_max = static_cast<size_t>(config.staging.open_stores);
  options.fold.dedup_window = config.staging.dedup_window;
  options.fold.tombstone_horizon = config.sync.tombstone_horizon;
  options.fold.tombstone_age = config.sync.tombstone_age;
  options.check_history = [this](PartitionId partition, Offset applied, uint64_t event_hash) {
    return eventlog::VerifyContinuity(*log, eventlog::Topic::kChanges, partition, applied,
                                      event_hash, kComparePatience);
  };
  options.sets_apart = true;  // the staging projector folds them
  options.registry = registry;
  ASSIGN_OR_RETURN(stores, projectors::StoreManager::Open(std::move(options)));
  parts.stores = stores.get();
  return absl::OkStatus();
}

void Process::Impl::TellOfServing() {
  const absl::MutexLock lock(&serving_mutex);
  if (told != nullptr) {
    told->ServingChanged();
  }
}

absl::Status Process::Impl::StartProjectors() {
  if (config.log.kind == "kafka") {
    nodes = std::make_unique<projectors::NodeDirectory>(*log, boot_clock, node_id);
    parts.nodes = nodes.get();
    nodes->Start();
  }
  if (stores != nullptr) {
    if (HasRole(config, "projectors")) {
      ASSIGN_OR_RETURN(staging_group,
                       MakeGroup(config, *log, config.staging.replica_set, node_id, registry));
    } else {
      // One that only serves clients is a copy of its own, of every partition, whatever others do.
      staging_group = std::make_unique<eventlog::StaticPartitionGroup>(
          log->PartitionCount(eventlog::Topic::kChanges));
    }
    projectors::StagingOptions options;
    options.batch_bytes_max = static_cast<size_t>(config.staging.batch_bytes);
    options.checkpoint_interval = config.staging.checkpoint_interval;
    // No other process folds an embedded log: nothing newer can have been served elsewhere.
    if (config.log.kind == "embedded") {
      options.near_end = kNearEndAlone;
    }
    options.serving_changed = [this] { TellOfServing(); };
    options.nodes = nodes.get();
    options.registry = registry;
    staging = std::make_unique<projectors::StagingProjector>(*log, *staging_group, *stores,
                                                             boot_clock, options);
    parts.staging = staging.get();
    RETURN_IF_ERROR(staging->Start());
  }
  projectors::DirectoryFollower::Hooks hooks;
  hooks.may_append = [this](PartitionId partition) { return serving.MayAppend(partition); };
  hooks.agreement_changed = [this] { TellOfServing(); };
  hooks.last_control = [this](PartitionId partition) { return serving.LastControl(partition); };
  hooks.others_known = [this] { return nodes == nullptr || nodes->Known(); };
  if (nodes != nullptr) {
    hooks.folded = [this](PartitionId partition) { return nodes->Folded(partition).marks; };
  }
  if (staging != nullptr) {
    hooks.may_serve = [this](PartitionId partition) { return staging->MayServe(partition); };
    hooks.taken_over = [this](PartitionId partition) { return staging->TakenOver(partition); };
    hooks.folded_until = [this](PartitionId partition) {
      return Offset(stores->Applied(partition).value() + 1);
    };
  }
  directory = std::make_unique<projectors::DirectoryFollower>(*log, boot_clock, registry, hooks);
  parts.directory = directory.get();
  RETURN_IF_ERROR(directory->Start());
  if (HasRole(config, "projectors")) {
    ASSIGN_OR_RETURN(provisioning_group,
                     MakeGroup(config, *log, "provisioning", node_id, registry));
    projectors::ProvisioningProjector::Gate gate = serving.Gate();
    gate.append_limits = AppendLimitsOf(config);
    provisioning = std::make_unique<projectors::ProvisioningProjector>(
        *log, *provisioning_group, boot_clock,
        [this](const OrgId& org) { return serving.StoreApplied(org); }, registry, gate);
    parts.provisioning = provisioning.get();
    RETURN_IF_ERROR(provisioning->Start());
  }
  StartAnnouncer();
  return absl::OkStatus();
}

// Before the listeners are there: the others are asked who they are, and their answers take a
// moment.
void Process::Impl::StartAnnouncer() {
  if (nodes == nullptr) {
    return;
  }
  projectors::NodeAnnouncer::Tells tells;
  tells.serves = [this](PartitionId p) {
    return staging->MayServe(p).ok() && serving.FaultOf(p).empty();
  };
  tells.fault = [this](PartitionId p) { return serving.FaultOf(p); };
  tells.last_control = [this](PartitionId p) { return serving.LastControl(p); };
  projectors::AnnouncerOptions options;
  options.node_id = node_id;
  options.roles = config.roles;
  announcer = std::make_unique<projectors::NodeAnnouncer>(
      *log, stores.get(), *nodes, std::move(tells), clock, std::move(options));
  announcer->Start();
}

absl::Status Process::Impl::MakeConnectors() {
  gateways::OutboundOptions options;
  options.allow_hosts = config.sources.allow_hosts;
  options.allow_private = config.sources.allow_private;
  options.ca_file = config.sources.ca_file;
  // What is wrong with these is told now, and not to whoever defines a source.
  RETURN_IF_ERROR_CTX(
      gateways::AddressRule::Create(options.allow_hosts, options.allow_private).status(),
      "sources.allow_hosts and sources.allow_private");
  if (!options.ca_file.empty() && ::access(options.ca_file.c_str(), R_OK) != 0) {
    return Error(absl::StatusCode::kInvalidArgument, "invalid_argument",
                 fmt::format("sources.ca_file: {} can't be read: {}",
                             QuoteForError(options.ca_file), std::strerror(errno)));
  }
  outbound = std::make_unique<gateways::OutboundClient>(std::move(options), clock);
  connectors.push_back(gateways::MakeODataConnector(*outbound, clock, registry));
  gateways::DebeziumOptions debezium;
  if (config.log.kind == "kafka") {
    debezium.log_brokers = config.log.brokers;
    debezium.topic_prefix = config.log.topic_prefix;
  }
  debezium.allowed_brokers = config.sources.kafka_brokers;
  debezium.tenant_topics = config.sources.kafka_topics;
  connectors.push_back(gateways::MakeDebeziumConnector(
      std::move(debezium), &eventlog::RecordConsumer::Open, clock, registry));
  return absl::OkStatus();
}

absl::Status Process::Impl::StartSources() {
  if (!HasRole(config, "admin") && !HasRole(config, "sources")) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(sealer,
                   gateways::Sealer::Create({.keys = config.secrets.keys,
                                             .pkcs11_module = config.secrets.pkcs11_module,
                                             .pkcs11_pin_file = config.secrets.pkcs11_pin_file}));
  RETURN_IF_ERROR(MakeConnectors());
  std::vector<gateways::Connector*> kinds;
  kinds.reserve(connectors.size());
  for (const auto& connector : connectors) {
    kinds.push_back(connector.get());
  }
  {
    gateways::SourceServiceOptions options;
    options.interval_min = std::chrono::ceil<std::chrono::seconds>(config.sources.interval_min);
    source_service = std::make_unique<gateways::SourceService>(
        options, gateways::SourceService::Deps{.log = *log,
                                               .clock = clock,
                                               .directory = directory->directory(),
                                               .connectors = kinds,
                                               .sealer = *sealer});
    if (HasRole(config, "admin")) {
      source_service->Start();  // what it follows is for its answers
    }
  }
  ASSIGN_OR_RETURN(events,
                   MakeEventService(config, *log, clock, *directory, *source_service, registry));
  if (!HasRole(config, "sources")) {
    return absl::OkStatus();
  }
  gateways::SourceRunnerOptions options;
  options.worker.node_id = node_id;
  options.worker.stall_timeout = config.sources.stall_timeout;
  options.entity_runs.runs_max = static_cast<size_t>(config.sources.runs);
  options.entity_runs.per_org_max = static_cast<size_t>(config.sources.runs_per_org);
  ASSIGN_OR_RETURN(source_group, MakeGroup(config, *log, "sources", node_id, registry));
  source_runner = std::make_unique<gateways::SourceRunner>(
      options,
      gateways::SourceRunnerDeps{.log = *log,
                                 .group = *source_group,
                                 .clock = clock,
                                 .directory = *directory,
                                 .connectors = kinds,
                                 .sealer = *sealer,
                                 .applied = [this](const OrgId& org) { return AppliedOf(org); },
                                 .owns_first = [this](bool owner) { events->OwnTopic(owner); },
                                 .registry = registry});
  return source_runner->Start();
}

// How far an organisation is folded: here, or as another node tells.
std::optional<gateways::AppliedGate::Applied> Process::Impl::AppliedOf(const OrgId& org) const {
  if (staging != nullptr) {
    if (const Offset next = staging->FoldedUntil(org); next != kNoOffset) {
      return gateways::AppliedGate::Applied{next, /*here=*/true};
    }
  }
  const std::optional<Offset> applied = serving.RemoteApplied(org);
  return applied.has_value() ? std::make_optional(gateways::AppliedGate::Applied{
                                   Offset(applied->value() + 1), /*here=*/false})
                             : std::nullopt;
}

std::vector<std::pair<std::string, std::function<absl::Status()>>> Process::Impl::HealthChecks() {
  std::vector<std::pair<std::string, std::function<absl::Status()>>> checks;
  checks.emplace_back("log", [this] { return log->Health(); });
  checks.emplace_back("keys", [this] { return authenticator->Ready(); });
  // In this order: the directory tells of partitions that are folded to their end, so that what it
  // said before the fold had come there is not the last word.
  if (staging != nullptr) {
    checks.emplace_back("staging", [this] { return staging->Health(); });
  }
  checks.emplace_back("directory", [this] { return directory->Health(); });
  if (provisioning != nullptr) {
    checks.emplace_back("provisioning", [this] { return provisioning->Health(); });
  }
  return checks;
}

absl::Status Process::Impl::StartAdmin() {
  gateways::AdminServerOptions options;
  options.listen = config.admin.listen;
  options.administration = HasRole(config, "admin");
  options.connections_max = static_cast<size_t>(config.admin.connections);
  options.descriptors_max = ShareDescriptors(DescriptorLimit(), HasRole(config, "sync")).admin;
  options.body_bytes_max = static_cast<size_t>(config.limits.body_bytes);
  options.ingest.set_limits.line_bytes_max = static_cast<size_t>(config.limits.line_bytes);
  options.ingest.set_limits.ops_max = static_cast<size_t>(config.limits.ops_per_set);
  gateways::AdminServerDeps deps{.log = *log,
                                 .directory = *directory,
                                 .authenticator = *authenticator,
                                 .clock = clock,
                                 .stores = stores.get(),
                                 .remote_applied = {},
                                 .health = HealthChecks(),
                                 .registry = registry};
  deps.remote_applied = [this](const OrgId& org) { return serving.RemoteApplied(org); };
  deps.may_serve = [this](const OrgId& org) { return serving.MayServe(org); };
  deps.troubled = [this] { return serving.Troubled(); };
  deps.sources = source_service.get();
  deps.events = events == nullptr ? nullptr : &events->intake();
  deps.refresh_metrics = [this] {
    if (staging != nullptr) {
      staging->RefreshMetrics();
    }
    if (source_runner != nullptr) {
      source_runner->RefreshMetrics();
    }
  };
  deps.served_at = [this](const OrgId& org) {
    return serving.ServedAt(org, projectors::NodeUse::kAdmin);
  };
  deps.relay_to = [this](const OrgId& org) {
    return serving.ServedAt(org, projectors::NodeUse::kRelay);
  };
  admin = std::make_unique<gateways::AdminServer>(options, std::move(deps));
  ASSIGN_OR_RETURN(admin_port, admin->Start());
  return absl::OkStatus();
}

absl::Status Process::Impl::StartSync() {
  ASSIGN_OR_RETURN(const ListenAddress address, ParseListenAddress(config.sync.listen));
  gateways::SyncOptions options;
  options.host = address.host;
  options.port = address.port;
  options.log_id = log->id();
  options.threads = static_cast<size_t>(config.sync.threads);
  options.sessions_max = static_cast<size_t>(config.sync.sessions);
  options.connections_max = options.sessions_max + options.sessions_max / 4;
  options.descriptors_max = ShareDescriptors(DescriptorLimit(), /*has_sync=*/true).sync;
  options.heartbeat = config.sync.heartbeat;
  if (!config.sync.cursor_secret_file.empty()) {
    ASSIGN_OR_RETURN(options.cursor_secret, ReadSecret(config.sync.cursor_secret_file));
  }
  options.buckets_per_caller = static_cast<size_t>(config.limits.buckets_per_caller);
  options.not_ready = [checks = HealthChecks()] {
    std::vector<std::string> reasons;
    for (const auto& [name, check] : checks) {
      if (const absl::Status status = check(); !status.ok()) {
        reasons.push_back(fmt::format("{}: {}", name, gateways::PublicReason(status)));
      }
    }
    return reasons;
  };
  options.troubled = [this] { return serving.Troubled(); };
  options.may_serve = [this](const OrgId& org) { return serving.MayServe(org); };
  options.served_at = [this](const OrgId& org) {
    return serving.ServedAt(org, projectors::NodeUse::kSync);
  };
  options.folded_until = [this](const OrgId& org) { return staging->FoldedUntil(org); };
  options.exists = [this](const OrgId& org) { return serving.Exists(org); };
  options.log_end = [this](const OrgId& org, SteadyTime::duration ago) {
    return staging->EndSince(org, ago);
  };
  if (config.log.kind == "kafka") {
    options.is_lost = [this](const OrgId& org, Offset position, Offset end) {
      const PartitionId partition = log->PartitionFor(eventlog::Topic::kChanges, org.value());
      eventlog::LossDoubt& doubt = claims.DoubtOf(org);
      doubt.NoteEnd(eventlog::Topic::kChanges, partition, end);
      return position >= end && doubt.Confirm(eventlog::Topic::kChanges, partition, position).ok();
    };
  }
  options.registry = registry;
  sync = std::make_unique<gateways::SyncServer>(std::move(options), *stores, *authenticator, clock);
  ASSIGN_OR_RETURN(sync_port, sync->Start());
  const absl::MutexLock lock(&serving_mutex);
  told = sync.get();
  return absl::OkStatus();
}

absl::Status Process::Impl::Start(const std::function<bool()>& stopping) {
  RETURN_IF_ERROR(MakeDataDir(config.data_dir));
  ASSIGN_OR_RETURN(node_id, NodeId(config.data_dir, config.staging.node_id, clock));
  RETURN_IF_ERROR(ConnectLog(stopping));
  if (HasRole(config, "projectors") || HasRole(config, "sync")) {
    RETURN_IF_ERROR(StartStores());
  }
  gateways::AuthOptions auth;
  auth.jwks = config.auth.jwks;
  auth.jwks_ca_file = config.auth.jwks_ca_file;
  auth.issuer = config.auth.issuer;
  auth.audience = config.auth.audience;
  auth.data_dir = config.data_dir;
  auth.registry = registry;
  ASSIGN_OR_RETURN(authenticator, gateways::Authenticator::Create(std::move(auth)));
  RETURN_IF_ERROR(StartProjectors());
  RETURN_IF_ERROR(StartSources());
  RETURN_IF_ERROR(StartAdmin());
  if (HasRole(config, "sync")) {
    RETURN_IF_ERROR(StartSync());
  }
  if (announcer != nullptr) {
    announcer->Serve(AnnouncedUrl(config.admin.listen, admin_port),
                     sync == nullptr ? "" : AnnouncedUrl(config.sync.listen, sync_port));
  }
  AwaitReady(stopping);
  if (!config.ready_file.empty()) {
    const std::string sync_part =
        sync == nullptr ? "null" : fmt::format("\"{}\"", Url(config.sync.listen, sync_port));
    RETURN_IF_ERROR(WriteFileAtomically(
        config.ready_file,
        fmt::format("{{\"admin\":\"{}\",\"sync\":{},\"pid\":{}}}\n",
                    Url(config.admin.listen, admin_port), sync_part, ::getpid()),
        0600, IfExists::kReplace));
  }
  return absl::OkStatus();
}

// Requests first, then what answers them, then what keeps it.
void Process::Impl::Stop() {
  {
    const absl::MutexLock lock(&serving_mutex);
    told = nullptr;
  }
  // Within one grace: clients of one that take their time do not make those of the other wait for
  // a process that will not answer them.
  // Runs of sources ask for definitions and wait for outcomes: before what answers them.
  StopTogether(admin.get(), sync.get(), source_service.get(), source_runner.get(), events.get());
  // Who no longer folds serves nobody, announced or not.
  if (announcer != nullptr) {
    announcer->RequestStop();
  }
  // While a broker is away each may wait for an answer of the log: at the same time, or it takes
  // longer than the process is given to end, and the checkpoints begin at once.
  StopTogether(staging.get(), provisioning.get(), announcer.get(), directory.get(), nodes.get());
  sync.reset();
  admin.reset();
  source_runner.reset();
  events.reset();
  source_service.reset();
  announcer.reset();
  nodes.reset();
  provisioning.reset();
  staging.reset();
  directory.reset();
  if (stores != nullptr) {
    if (const absl::Status status = stores->Close(); !status.ok()) {
      spdlog::error("stores_not_flushed reason=\"{}\"", Message(status));
    }
  }
}

Process::Process(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Process::~Process() = default;

absl::StatusOr<std::unique_ptr<Process>> Process::Start(const Config& config,
                                                        const std::function<bool()>& stopping) {
  auto impl = std::make_unique<Impl>();
  impl->config = config;
  try {
    RETURN_IF_ERROR(impl->Start(stopping));
  } catch (const std::system_error& error) {
    // A thread could not be made: every pool makes its own at the start.
    return absl::ResourceExhaustedError(fmt::format(
        "the process can't have its threads ({}); raise its limit (ulimit -u)", error.what()));
  }
  return std::unique_ptr<Process>(new Process(std::move(impl)));
}

absl::Status Process::Ended() const {
  absl::Status health = impl_->log->Health();
  return ErrorCode(health) == "log_epoch_changed" ? health : absl::OkStatus();
}

std::string Process::admin_url() const {
  return Url(impl_->config.admin.listen, impl_->admin_port);
}
std::string Process::sync_url() const {
  return impl_->sync == nullptr ? "" : Url(impl_->config.sync.listen, impl_->sync_port);
}

}  // namespace sluice::ops
