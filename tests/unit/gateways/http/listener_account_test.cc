#include "gateways/http/listener_account.h"

#include <gmock/gmock.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include <sstream>

namespace sluice::gateways {
namespace {

using ::testing::HasSubstr;

ListenerAccountOptions Options() {
  return {.listener = "test",
          .operation_label = "route",
          .refused_name = "sluice_test_refused_total",
          .refused_label = "limit",
          .connections_max = 7,
          .line = "test_request status={status} route={operation} ms={ms:.1f} subject={subject}"};
}

TEST(ListenerAccountTest, CountsUnderTheListenersNames) {
  const auto registry = std::make_shared<prometheus::Registry>();
  ListenerAccount account(Options(), registry);
  account.Connections(2);
  account.Connections(-1);
  account.Refused("heads");
  account.Count("delta", 503);
  const std::string text = prometheus::TextSerializer().Serialize(registry->Collect());
  for (const char* line : {"\nsluice_test_connections 1\n", "\nsluice_test_connections_limit 7\n",
                           "\nsluice_test_refused_total{limit=\"heads\"} 1\n",
                           "\nsluice_test_requests_total{route=\"delta\",status=\"503\"} 1\n"}) {
    EXPECT_THAT(text, HasSubstr(line));
  }
}

TEST(ListenerAccountTest, TheLineHasTheFieldsOfItsFormat) {
  std::ostringstream lines;
  const auto before = spdlog::default_logger();
  const auto logger = std::make_shared<spdlog::logger>(
      "", std::make_shared<spdlog::sinks::ostream_sink_st>(lines, /*force_flush=*/true));
  logger->set_pattern("%v");
  spdlog::set_default_logger(logger);
  const ListenerAccount account(Options(), nullptr);
  RequestEntry entry{.operation = "delta", .subject = "{\"a\"}"};
  entry.ms = std::chrono::microseconds(1'249);
  account.Log(spdlog::level::info, entry);
  account.Log(spdlog::level::debug, entry);
  spdlog::set_default_logger(before);
  EXPECT_EQ(lines.str(), "test_request status=200 route=delta ms=1.2 subject={\"a\"}\n");
}

}  // namespace
}  // namespace sluice::gateways
