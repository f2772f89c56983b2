#pragma once

#include <fmt/format.h>
#include <sys/resource.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string_view>
#include <utility>

#include "gateways/sources/connector.h"
#include "schemas/entity_schema.h"

// What the benchmarks of connectors share.
namespace sluice::gateways {

inline void Must(const absl::Status& status) {
  if (!status.ok()) {
    fmt::print(stderr, "{}\n", std::string(status.message()));
    std::exit(1);
  }
}

// Makes the event's bytes of each set, as whoever appends it has to, and drops them. Has one
// entity.
class EventSink : public RowSink {
 public:
  absl::Status Append(SourceSet set) override {
    v1::ChangeSet event;
    for (v1::Operation& op : set.ops) {
      if (set.number_is_version) {
        op.set_version(static_cast<int64_t>(number_));
      }
      *event.add_ops() = std::move(op);
    }
    if (set.cursor.has_value()) {
      event.mutable_step()->set_cursor(*std::move(set.cursor));
    }
    ++number_;
    ops += static_cast<uint64_t>(event.ops_size());
    bytes += event.SerializeAsString().size();
    return absl::OkStatus();
  }
  absl::Status Flush() override { return absl::OkStatus(); }
  [[nodiscard]] uint64_t next_number() const override { return number_; }
  absl::StatusOr<std::shared_ptr<const schemas::EntitySchema>> Define(
      const OrgId&, const v1::ProvisioningRequest::PutEntity& wanted) override {
    const auto schema = schemas::EvolveSchema(nullptr, wanted, schemas::EntityId(1));
    Must(schema.status());
    auto made = schemas::EntitySchema::FromProto(*schema);
    Must(made.status());
    return schema_ = *std::move(made);
  }
  std::shared_ptr<const schemas::EntitySchema> Find(const OrgId&, std::string_view) override {
    return schema_;
  }
  absl::Status OpenOrg(const OrgId&) override { return absl::OkStatus(); }
  absl::Status ForEachOrg(std::string_view,
                          const std::function<absl::Status(const OrgId&)>&) override {
    return absl::OkStatus();
  }
  absl::Status Reject(const RejectedRow& row) override { return absl::InternalError(row.reason); }
  void Report(const v1::RunNumbers&) override {}
  void set_loading(bool) override {}
  [[nodiscard]] bool stopping() const override { return ops >= stop_at; }
  [[nodiscard]] bool Pause(std::chrono::milliseconds) override { return false; }

  uint64_t ops = 0;
  uint64_t bytes = 0;
  uint64_t stop_at = UINT64_MAX;  // operations

 private:
  uint64_t number_ = 1;
  std::shared_ptr<const schemas::EntitySchema> schema_;
};

// Prints the rate since it was made, the processor's time of this process and its peak memory.
class Stopwatch {
 public:
  void Print(std::string_view what, std::string_view unit, uint64_t count, double mib) const {
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin_;
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    fmt::print("{:<34} {:>9.0f} {}s/s {:>7.0f} MiB/s {:>6.2f} us of processor a {}, peak {} MiB\n",
               what, static_cast<double>(count) / took.count(), unit, mib / took.count(),
               (CpuSeconds() - cpu_) * 1e6 / static_cast<double>(count), unit,
               usage.ru_maxrss / 1024);
  }

 private:
  static double CpuSeconds() {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    const auto seconds = [](const timeval& time) {
      return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
    };
    return seconds(usage.ru_utime) + seconds(usage.ru_stime);
  }

  const std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
  const double cpu_ = CpuSeconds();
};

}  // namespace sluice::gateways
