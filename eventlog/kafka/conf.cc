#include "eventlog/kafka/conf.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>

#include "schemas/base/status.h"

namespace sluice::eventlog {
namespace {

constexpr std::string_view kContractProperties[] = {"bootstrap.servers",
                                                    "metadata.broker.list",
                                                    "enable.idempotence",
                                                    "enable.gapless.guarantee",
                                                    "acks",
                                                    "request.required.acks",
                                                    "check.crcs",
                                                    "isolation.level",
                                                    "auto.offset.reset",
                                                    "enable.auto.commit",
                                                    "enable.auto.offset.store",
                                                    "message.max.bytes",
                                                    "message.timeout.ms",
                                                    "delivery.timeout.ms",
                                                    "group.id",
                                                    "partitioner"};

// What MakeProducerClient() sets and FailWhatIsLeft() does, of which librdkafka warns each time.
bool IsMeant(std::string_view text) {
  return text.find("enable.gapless.guarantee") != std::string_view::npos ||
         text.find("test_fatal_error") != std::string_view::npos;
}

void WriteLog(const rd_kafka_t* handle, int level, const char* facility, const char* text) {
  if (IsMeant(text)) {
    return;
  }
  // LOG_ERR is 3, LOG_WARNING 4, LOG_NOTICE 5, LOG_INFO 6.
  const auto severity = level <= 3   ? spdlog::level::err
                        : level == 4 ? spdlog::level::warn
                        : level <= 6 ? spdlog::level::info
                                     : spdlog::level::debug;
  spdlog::log(severity, "kafka client={} facility={} text=\"{}\"", rd_kafka_name(handle), facility,
              text);
}

absl::Status Set(rd_kafka_conf_t* conf, const std::string& name, const std::string& value) {
  std::array<char, 512> reason{};
  if (rd_kafka_conf_set(conf, name.c_str(), value.c_str(), reason.data(), reason.size()) !=
      RD_KAFKA_CONF_OK) {
    // The value may be a secret: librdkafka's text names it only for enumerations.
    return Invalid("invalid_argument", "the Kafka property \"{}\" is refused: {}", name,
                   reason.data());
  }
  return absl::OkStatus();
}

struct Meaning {
  absl::StatusCode kind;
  std::string_view code;
};

Meaning MeaningOf(rd_kafka_resp_err_t error) {
  switch (error) {
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE:
      return {absl::StatusCode::kInvalidArgument, "too_large"};
    case RD_KAFKA_RESP_ERR__QUEUE_FULL:
      return {absl::StatusCode::kResourceExhausted, "append_queue_full"};
    case RD_KAFKA_RESP_ERR__BAD_MSG:
    case RD_KAFKA_RESP_ERR__BAD_COMPRESSION:
    case RD_KAFKA_RESP_ERR_INVALID_MSG:
      return {absl::StatusCode::kDataLoss, "log_corrupt"};
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR__AUTHENTICATION:
    case RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED:
      return {absl::StatusCode::kPermissionDenied, "log_permission_denied"};
    case RD_KAFKA_RESP_ERR_POLICY_VIOLATION:
    case RD_KAFKA_RESP_ERR_INVALID_CONFIG:
    case RD_KAFKA_RESP_ERR_INVALID_PARTITIONS:
    case RD_KAFKA_RESP_ERR_INVALID_REPLICATION_FACTOR:
      return {absl::StatusCode::kFailedPrecondition, "log_refused"};
    case RD_KAFKA_RESP_ERR__INVALID_ARG:
    case RD_KAFKA_RESP_ERR_INVALID_REQUEST:
    case RD_KAFKA_RESP_ERR_UNSUPPORTED_VERSION:
    case RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE:
      return {absl::StatusCode::kInternal, "internal"};
    default:
      return {absl::StatusCode::kUnavailable, "log_unavailable"};
  }
}

}  // namespace

void KafkaDeleter::operator()(rd_kafka_t* handle) const {
  // A group member is closed, within a bound, by its owner; destruction does not wait for brokers.
  rd_kafka_destroy_flags(handle, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
}
void KafkaDeleter::operator()(rd_kafka_conf_t* conf) const { rd_kafka_conf_destroy(conf); }
void KafkaDeleter::operator()(rd_kafka_topic_t* topic) const { rd_kafka_topic_destroy(topic); }
void KafkaDeleter::operator()(rd_kafka_queue_t* queue) const { rd_kafka_queue_destroy(queue); }
void KafkaDeleter::operator()(rd_kafka_message_t* message) const {
  rd_kafka_message_destroy(message);
}

absl::StatusOr<KafkaConf> MakeConf(const KafkaLogOptions& options,
                                   std::initializer_list<KafkaProperty> properties) {
  KafkaConf conf(rd_kafka_conf_new());
  rd_kafka_conf_set_log_cb(conf.get(), WriteLog);
  RETURN_IF_ERROR(Set(conf.get(), "bootstrap.servers", options.brokers));
  const KafkaProperty common[] = {
      {"client.id", "sluice"},
      // Idle connections are closed by brokers all the time: that is no news.
      {"log.connection.close", "false"},
      {"socket.keepalive.enable", "true"},
      {"socket.nagle.disable", "true"},
      // A request to a broker that hangs fails in time for the append to be sent elsewhere. Only
      // then is the connection taken for broken, and asked every second who leads: the bound of
      // recovery in kafka_log.h is this and what follows.
      {"socket.timeout.ms", "10000"},
      {"reconnect.backoff.ms", "50"},
      {"reconnect.backoff.max.ms", "2000"},
      // A broker that is cut off from the others, but not from us, goes on as the leader that it
      // believes to be, with nothing new: only another one tells who leads now.
      {"topic.metadata.refresh.interval.ms", "10000"},
  };
  for (const auto& [name, value] : common) {
    RETURN_IF_ERROR(Set(conf.get(), std::string(name), value));
  }
  for (const auto& [name, value] : properties) {
    RETURN_IF_ERROR(Set(conf.get(), std::string(name), value));
  }
  for (const auto& [name, value] : options.properties) {
    for (const std::string_view contract : kContractProperties) {
      if (name == contract) {
        return Invalid("invalid_argument", "the Kafka property \"{}\" is set by Sluice: remove it",
                       name);
      }
    }
    RETURN_IF_ERROR(Set(conf.get(), name, value));
  }
  return conf;
}

absl::StatusOr<KafkaConf> MakeConsumerConf(const KafkaLogOptions& options,
                                           const ConsumerLimits& limits) {
  return MakeConf(
      options,
      {{"check.crcs", "true"},
       {"isolation.level", "read_committed"},
       {"auto.offset.reset", "error"},
       // Tells where an end is that no event comes before (KafkaReader::Read).
       {"enable.partition.eof", "true"},
       {"enable.auto.commit", "false"},
       {"enable.auto.offset.store", "false"},
       {"allow.auto.create.topics", "false"},
       {"queued.min.messages", std::to_string(limits.queue_messages_min)},
       {"queued.max.messages.kbytes",
        std::to_string(std::max<size_t>(options.reader_queue_bytes_max >> 10, 1))},
       {"fetch.message.max.bytes", std::to_string(limits.fetch_bytes_max)},
       // Of all partitions together: librdkafka begins with another one each time.
       {"fetch.max.bytes", std::to_string(std::max(limits.fetch_bytes_max, kFetchBytesMax))},
       {"fetch.wait.max.ms", std::to_string(limits.fetch_wait.count())},
       {"fetch.error.backoff.ms", "100"}});
}

absl::StatusOr<KafkaHandle> MakeHandle(rd_kafka_type_t type, KafkaConf conf) {
  std::array<char, 512> reason{};
  KafkaHandle handle(rd_kafka_new(type, conf.get(), reason.data(), reason.size()));
  if (handle == nullptr) {
    return Invalid("invalid_argument", "the Kafka client does not start: {}", reason.data());
  }
  (void)conf.release();  // the handle has taken it
  return handle;
}

absl::Status KafkaError(rd_kafka_resp_err_t error, std::string_view what) {
  const Meaning meaning = MeaningOf(error);
  return Error(meaning.kind, meaning.code, "{}: {} ({})", what, rd_kafka_err2str(error),
               rd_kafka_err2name(error));
}

}  // namespace sluice::eventlog
