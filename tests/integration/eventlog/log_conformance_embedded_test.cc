#include "eventlog/embedded/embedded_log.h"
#include "tests/integration/eventlog/log_conformance.h"
#include "tests/support/temp_dir.h"

namespace sluice::eventlog {
namespace {

class EmbeddedFixture final : public LogFixture {
 public:
  absl::StatusOr<std::unique_ptr<Log>> Open(const AppendLimits& limits) override {
    return EmbeddedLog::Open({.path = dir_ / "log", .limits = limits});
  }
  bool batches_are_atomic() const override { return true; }

 private:
  testing::TempDir dir_;
};

INSTANTIATE_TEST_SUITE_P(Embedded, LogConformance,
                         ::testing::Values(LogUnderTest{
                             "Embedded", [] { return std::make_unique<EmbeddedFixture>(); }}),
                         LogUnderTestName);

}  // namespace
}  // namespace sluice::eventlog
