// `serve`: the server, until SIGINT or SIGTERM.
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <CLI/CLI.hpp>

#include <memory>

#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "ops/config/config.h"
#include "ops/program/command.h"
#include "ops/program/descriptors.h"
#include "ops/program/process.h"
#include "ops/program/ready_file.h"
#include "ops/program/signals.h"
#include "schemas/base/status.h"

namespace sluice::ops {
namespace {

constexpr absl::Duration kLookInterval = absl::Seconds(1);

struct ServeArguments {
  std::string config_file;
  std::vector<std::string> settings;                       // KEY=VALUE
  std::vector<std::pair<std::string, std::string>> flags;  // key, value
};

// Short forms of the settings that are given most often.
struct Flag {
  const char* name;
  const char* key;
};
constexpr Flag kFlags[] = {{"--data-dir", "data_dir"},           {"--log", "log.kind"},
                           {"--brokers", "log.brokers"},         {"--roles", "roles"},
                           {"--admin-listen", "admin.listen"},   {"--sync-listen", "sync.listen"},
                           {"--auth-jwks", "auth.jwks"},         {"--auth-issuer", "auth.issuer"},
                           {"--auth-audience", "auth.audience"}, {"--ready-file", "ready_file"}};

absl::Status SetAll(const ServeArguments& arguments, Config& config) {
  if (!arguments.config_file.empty()) {
    RETURN_IF_ERROR(LoadYaml(arguments.config_file, config));
  }
  for (const std::string& setting : arguments.settings) {
    const size_t equals = setting.find('=');
    if (equals == std::string::npos) {
      return absl::InvalidArgumentError(fmt::format("--set \"{}\": write KEY=VALUE", setting));
    }
    RETURN_IF_ERROR(SetKey(config, setting.substr(0, equals), setting.substr(equals + 1)));
  }
  for (const auto& [key, value] : arguments.flags) {
    RETURN_IF_ERROR(SetKey(config, key, value));
  }
  return Validate(config);
}

void StartLogging(const Config& config) {
  const auto logger = spdlog::default_logger();
  logger->set_pattern("%Y-%m-%dT%H:%M:%S.%fZ level=%l %v", spdlog::pattern_time_type::utc);
  logger->set_level(
      spdlog::level::from_str(config.log_level == "warn" ? "warning" : config.log_level));
  logger->flush_on(spdlog::level::info);
}

void RaiseLimits() {
  const auto limit = RaiseDescriptorLimit();
  if (!limit.ok()) {
    spdlog::warn("descriptors_not_raised reason=\"{}\"", Message(limit.status()));
    return;
  }
  spdlog::info("descriptors limit={} was={}", limit->now, limit->before);
}

absl::Status Serve(const ServeArguments& arguments) {
  Config config = DefaultConfig();
  if (const absl::Status status = SetAll(arguments, config); !status.ok()) {
    return WrongUsage(Message(status));
  }
  StartLogging(config);
  absl::Notification stopping;
  SignalWaiter signals(SignalWaiter::HangUp::kIgnored);
  const ReadyFile ready_file(config.ready_file);
  RETURN_IF_ERROR(ready_file.RemoveStale());
  RaiseLimits();
  signals.OnSignal([&] { stopping.Notify(); });
  auto process = Process::Start(config, [&] { return stopping.HasBeenNotified(); });
  if (!process.ok()) {
    return absl::IsCancelled(process.status()) ? absl::OkStatus() : process.status();
  }
  spdlog::info("serving admin={} sync={} data_dir={} log={}", (*process)->admin_url(),
               (*process)->sync_url().empty() ? "none" : (*process)->sync_url(), config.data_dir,
               config.log.kind);
  // In another epoch of the log this process would hold partitions and answer from stores that
  // count no more: it ends, and whoever keeps it running starts it in the new one.
  absl::Status ended;
  while (ended.ok() && !stopping.WaitForNotificationWithTimeout(kLookInterval)) {
    ended = (*process)->Ended();
  }
  spdlog::info("stopping reason={}", ended.ok() ? "signal" : ErrorCode(ended));
  ready_file.RemoveOwn();
  process->reset();
  spdlog::info("stopped");
  return ended;
}

}  // namespace

void AddServeCommand(CLI::App& app, Invocation& invocation) {
  auto arguments = std::make_shared<ServeArguments>();
  CLI::App* command = app.add_subcommand("serve", "Run the server, until Ctrl-C");
  command->add_option("--config", arguments->config_file,
                      "YAML file; `sluice config` lists the keys");
  command->add_option("--set", arguments->settings,
                      "KEY=VALUE of the configuration; may be repeated");
  for (const Flag& flag : kFlags) {
    command->add_option_function<std::string>(
        flag.name,
        [arguments, key = std::string(flag.key)](const std::string& value) {
          arguments->flags.emplace_back(key, value);
        },
        fmt::format("Sets {}", flag.key));
  }
  command->footer(
      "Examples:\n  sluice serve\n  sluice serve --data-dir /var/lib/sluice --log kafka --brokers "
      "127.0.0.1:9092\n"
      "  sluice serve --config sluice.yaml --set sync.heartbeat=10s");
  RunBy(command, invocation, [arguments] { return Serve(*arguments); });
}

}  // namespace sluice::ops
