#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

namespace prometheus {
template <typename Metric>
class Family;
class Counter;
class Gauge;
class Registry;
}  // namespace prometheus
namespace spdlog::level {
enum level_enum : int;
}  // namespace spdlog::level

namespace sluice::gateways {

struct ListenerAccountOptions {
  std::string listener;         // "admin": its metrics are sluice_admin_requests_total, ...
  std::string operation_label;  // of the counter of requests
  std::string refused_name;     // of the counter of what was refused
  std::string refused_label;
  size_t connections_max = 0;  // the gauge of their limit
  std::string_view line{};     // of the access log: a format of RequestEntry's fields by name
};

// A request that was answered. The texts are what the access log may hold as they are.
struct RequestEntry {
  std::string method{};
  std::string path{};
  std::string_view operation{};
  std::string_view org{};
  std::string subject{};
  int status = 200;
  std::string_view code{};
  size_t bytes = 0;
  std::chrono::duration<double, std::milli> ms{};
  std::string_view request_id{};
};

// What a listener counts of its connections and requests, and its access log. Thread-safe.
class ListenerAccount {
 public:
  // A null registry gets one of our own, which nobody reads.
  ListenerAccount(ListenerAccountOptions options, std::shared_ptr<prometheus::Registry> registry);

  void Connections(int by);
  void Refused(std::string_view why);
  void Count(std::string_view operation, int status);
  void Log(spdlog::level::level_enum level, const RequestEntry& entry) const;

 private:
  const ListenerAccountOptions options_;
  std::shared_ptr<prometheus::Registry> registry_;
  prometheus::Family<prometheus::Counter>& requests_;
  prometheus::Family<prometheus::Counter>& refused_;
  prometheus::Gauge& connections_;
};

}  // namespace sluice::gateways
