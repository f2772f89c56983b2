// `log stat` and `log dump`: what is in the log, without a server.
#include <fmt/format.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>
#include <google/protobuf/util/json_util.h>
#include <CLI/CLI.hpp>

#include <memory>
#include <nlohmann/json.hpp>

#include "ops/program/command.h"
#include "ops/program/open_log.h"
#include "schemas/sluice/v1/events.pb.h"
#include "schemas/status.h"

namespace sluice::ops {
namespace {

using eventlog::Topic;

struct Arguments {
  Config config = DefaultConfig();
  std::string config_file;
  std::string topic = "changes";
  int32_t partition = -1;
  int64_t from = -1;
  int64_t limit = 100;
};

absl::StatusOr<std::unique_ptr<eventlog::Log>> Open(Arguments& arguments) {
  if (!arguments.config_file.empty()) {
    RETURN_IF_ERROR(LoadYaml(arguments.config_file, arguments.config));
  }
  if (!arguments.config.log.brokers.empty()) {
    arguments.config.log.kind = "kafka";
  }
  return OpenLog(arguments.config, nullptr);
}

absl::Status Stat(const Invocation& invocation, Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto log, Open(arguments));
  nlohmann::json partitions = nlohmann::json::array();
  for (const Topic topic : eventlog::kAllTopics) {
    for (int32_t p = 0; p < log->PartitionCount(topic); ++p) {
      ASSIGN_OR_RETURN(const eventlog::OffsetRange range, log->Range(topic, PartitionId(p)));
      partitions.push_back({{"topic", eventlog::TopicName(topic)},
                            {"partition", p},
                            {"begin", std::to_string(range.begin.value())},
                            {"end", std::to_string(range.end.value())}});
    }
  }
  if (invocation.json) {
    fmt::print("{}\n", nlohmann::json{{"log", log->id()}, {"partitions", partitions}}.dump());
    return absl::OkStatus();
  }
  fmt::print("log {}\n{:<14} {:>9} {:>12} {:>12}\n", log->id(), "topic", "partition", "begin",
             "end");
  for (const auto& row : partitions) {
    fmt::print("{:<14} {:>9} {:>12} {:>12}\n", row["topic"].get<std::string>(),
               row["partition"].get<int>(), row["begin"].get<std::string>(),
               row["end"].get<std::string>());
  }
  return absl::OkStatus();
}

// The payload as JSON, by its type's name; null where it is none of ours.
nlohmann::json Payload(const eventlog::Event& event) {
  (void)v1::ChangeSet::descriptor();  // links the messages in
  const auto* descriptor =
      google::protobuf::DescriptorPool::generated_pool()->FindMessageTypeByName(event.type);
  if (descriptor == nullptr) {
    return nullptr;
  }
  const std::unique_ptr<google::protobuf::Message> message(
      google::protobuf::MessageFactory::generated_factory()->GetPrototype(descriptor)->New());
  std::string json;
  if (!message->ParseFromString(event.value) ||
      !google::protobuf::util::MessageToJsonString(*message, &json).ok()) {
    return nullptr;
  }
  return nlohmann::json::parse(json, nullptr, false);
}

absl::Status DumpPartition(eventlog::Log& log, Topic topic, PartitionId partition,
                           const Arguments& arguments) {
  ASSIGN_OR_RETURN(const eventlog::OffsetRange range, log.Range(topic, partition));
  const Offset from(std::max(arguments.from, range.begin.value()));
  if (from >= range.end) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const auto reader, log.OpenReader(topic, partition, from));
  int64_t left = arguments.limit;
  while (left > 0 && reader->next() < range.end) {
    ASSIGN_OR_RETURN(const auto events,
                     reader->Read({.events_max = static_cast<size_t>(std::min<int64_t>(left, 1000)),
                                   .wait_max = std::chrono::seconds(10)}));
    if (events.empty()) {
      break;
    }
    for (const auto& [offset, event] : events) {
      const nlohmann::json line = {{"topic", eventlog::TopicName(topic)},
                                   {"partition", partition.value()},
                                   {"offset", std::to_string(offset.value())},
                                   {"key", event.key},
                                   {"id", event.id},
                                   {"type", event.type},
                                   {"subject", event.subject},
                                   {"source", event.source},
                                   {"bytes", event.value.size()},
                                   {"payload", Payload(event)}};
      fmt::print("{}\n", line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
      --left;
    }
  }
  return absl::OkStatus();
}

absl::Status Dump(Arguments& arguments) {
  for (const Topic topic : eventlog::kAllTopics) {
    if (eventlog::TopicName(topic) != arguments.topic) {
      continue;
    }
    ASSIGN_OR_RETURN(const auto log, Open(arguments));
    for (int32_t p = 0; p < log->PartitionCount(topic); ++p) {
      if (arguments.partition < 0 || arguments.partition == p) {
        RETURN_IF_ERROR(DumpPartition(*log, topic, PartitionId(p), arguments));
      }
    }
    return absl::OkStatus();
  }
  return Error(
      absl::StatusCode::kInvalidArgument, "wrong_usage",
      fmt::format("there is no topic \"{}\": `sluice log stat` lists them", arguments.topic));
}

void AddLogOptions(CLI::App& command, Arguments& arguments) {
  command
      .add_option("--data-dir", arguments.config.data_dir,
                  "Folder of an embedded log (its server must be stopped)")
      ->envname("SLUICE_DATA_DIR")
      ->capture_default_str();
  command.add_option("--brokers", arguments.config.log.brokers,
                     "Kafka's brokers instead, host:port");
  command.add_option("--topic-prefix", arguments.config.log.topic_prefix, "Of Kafka's topics")
      ->capture_default_str();
  command.add_option("--config", arguments.config_file, "The server's YAML file");
}

}  // namespace

void AddLogCommands(CLI::App& app, Invocation& invocation) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* group = app.add_subcommand("log", "The log: stat, dump");
  group->require_subcommand(1);
  CLI::App* stat = group->add_subcommand("stat", "Begin and end of every partition");
  AddLogOptions(*stat, *arguments);
  stat->footer("Example:\n  sluice log stat --brokers 127.0.0.1:9092");
  stat->callback([&invocation, arguments] {
    invocation.run = [&invocation, arguments] { return Stat(invocation, *arguments); };
  });
  CLI::App* dump = group->add_subcommand("dump", "Print events, one JSON object a line");
  AddLogOptions(*dump, *arguments);
  dump->add_option("TOPIC", arguments->topic, "Such as changes or provisioning")
      ->capture_default_str();
  dump->add_option("--partition", arguments->partition, "Only this one");
  dump->add_option("--from", arguments->from, "First offset");
  dump->add_option("--limit", arguments->limit, "Events a partition")->capture_default_str();
  dump->footer("Example:\n  sluice log dump changes --from 1000 --limit 5");
  dump->callback(
      [&invocation, arguments] { invocation.run = [arguments] { return Dump(*arguments); }; });
}

}  // namespace sluice::ops
