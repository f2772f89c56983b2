// `serve`: the server, until SIGINT or SIGTERM.
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <CLI/CLI.hpp>

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>

#include "ops/config/config.h"
#include "ops/program/command.h"
#include "ops/program/process.h"
#include "ops/program/ready_file.h"
#include "ops/program/resource_limits.h"
#include "ops/program/signals.h"
#include "schemas/base/status.h"

namespace sluice::ops {
namespace {

constexpr std::chrono::seconds kLookInterval{1};

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

absl::StatusOr<Config> MakeConfig(const ServeArguments& arguments) {
  Config config = DefaultConfig();
  if (!arguments.config_file.empty()) {
    if (const auto status = LoadYaml(arguments.config_file, config); !status.ok()) {
      return WrongUsage(Message(status));
    }
  }
  std::vector<std::pair<std::string, std::string>> settings;
  for (const std::string& setting : arguments.settings) {
    const size_t equals = setting.find('=');
    if (equals == std::string::npos) {
      return WrongUsage(fmt::format("--set \"{}\": write KEY=VALUE", setting));
    }
    settings.emplace_back(setting.substr(0, equals), setting.substr(equals + 1));
  }
  settings.insert(settings.end(), arguments.flags.begin(), arguments.flags.end());
  for (const auto& [key, value] : settings) {
    if (const auto status = SetKey(config, key, value); !status.ok()) {
      return WrongUsage(Message(status));
    }
  }
  if (const auto status = Validate(config); !status.ok()) {
    return WrongUsage(Message(status));
  }
  return config;
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
  ASSIGN_OR_RETURN(const Config config, MakeConfig(arguments));
  StartLogging(config);
  std::mutex mutex;
  std::condition_variable changed;
  bool stopping = false;
  SignalWaiter signals(SignalWaiter::HangUp::kIgnored);
  const ReadyFile ready_file(config.ready_file);
  RETURN_IF_ERROR(ready_file.RemoveStale());
  RaiseLimits();
  signals.OnSignal([&] {
    const std::lock_guard lock(mutex);
    stopping = true;
    changed.notify_all();
  });
  const auto is_stopping = [&] {
    const std::lock_guard lock(mutex);
    return stopping;
  };
  auto process = Process::Start(config, is_stopping);
  if (!process.ok()) {
    return absl::IsCancelled(process.status()) ? absl::OkStatus() : process.status();
  }
  spdlog::info("serving admin={} sync={} data_dir={} log={}", (*process)->admin_url(),
               (*process)->sync_url().empty() ? "none" : (*process)->sync_url(), config.data_dir,
               config.log.kind);
  // In another epoch of the log this process would hold partitions and answer from stores that
  // count no more: it ends, and whoever keeps it running starts it in the new one.
  absl::Status ended;
  {
    std::unique_lock lock(mutex);
    while (ended.ok() && !changed.wait_for(lock, kLookInterval, [&] { return stopping; })) {
      ended = (*process)->Ended();
    }
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
  command->callback(
      [&invocation, arguments] { invocation.run = [arguments] { return Serve(*arguments); }; });
}

}  // namespace sluice::ops
