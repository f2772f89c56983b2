// A process that can't have one more thread goes on with what it has, and tells it.
#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>
#include <pthread.h>

#include <atomic>
#include <cerrno>

#include "eventlog/partition_group.h"
#include "projectors/provisioning/provisioning.h"
#include "tests/support/change_events.h"
#include "tests/unit/projectors/staging/staging_testing.h"

namespace {

constexpr int kAsMany = 1'000'000;
std::atomic<int> threads_left = kAsMany;

}  // namespace

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kCanRefuse = false;  // a sanitizer has its own
#else
constexpr bool kCanRefuse = true;

// In place of the C library's: what a limit of processes does, whoever runs the test.
extern "C" int pthread_create(pthread_t* thread, const pthread_attr_t* attributes,
                              void* (*routine)(void*), void* argument) noexcept {
  static const auto real =
      reinterpret_cast<decltype(&pthread_create)>(dlsym(RTLD_NEXT, "pthread_create"));
  return threads_left-- > 0 ? real(thread, attributes, routine, argument) : EAGAIN;
}
#endif

namespace sluice::projectors {
namespace {

using ::testing::HasSubstr;

// Assigns when it is told to, on a thread of its own, as Kafka's does: nobody catches there.
class LaterGroup final : public eventlog::PartitionGroup {
 public:
  absl::Status Start(Callbacks callbacks) override {
    callbacks_ = std::move(callbacks);
    thread_ = std::thread([this] {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(&due_));
      callbacks_.on_assigned({PartitionId(0), PartitionId(1)});
      assigned_ = true;
    });
    return absl::OkStatus();
  }
  // Returns when it has been done.
  void Assign() {
    absl::MutexLock lock(&mutex_);
    due_ = true;
    mutex_.Await(absl::Condition(&assigned_));
  }
  void CommitHint(PartitionId /*partition*/, Offset /*next*/) override {}
  void Stop() override {
    if (thread_.joinable()) {
      Assign();
      thread_.join();
      callbacks_.on_revoked({PartitionId(0), PartitionId(1)});
    }
  }

 private:
  Callbacks callbacks_;
  std::thread thread_;
  absl::Mutex mutex_;
  bool due_ ABSL_GUARDED_BY(mutex_) = false;
  bool assigned_ ABSL_GUARDED_BY(mutex_) = false;
};

class NoThreadsTest : public StagingFixture {
 protected:
  void SetUp() override {
    if (!kCanRefuse) {
      GTEST_SKIP() << "threads can't be refused here";
    }
    StagingFixture::SetUp();
  }
  void TearDown() override { threads_left = kAsMany; }
};

TEST_F(NoThreadsTest, WhoGoesApartNeedsNoNewThread) {
  store_options_.sets_apart = true;
  store_options_.registry = std::make_shared<prometheus::Registry>();
  store_options_.fold.step_rows = 5;
  AppendDefinitions();
  Start();
  ASSERT_TRUE(AwaitHealth(absl::StatusCode::kOk).ok());
  AwaitApplied(Append(Set("A0")));
  threads_left = 0;
  // An event that looks at every account.
  for (int i = 1; i < 20; ++i) {
    Append(Set("A" + std::to_string(i)));
  }
  AwaitApplied(Append(testing::DefineProfile("p", {{"account", {v1::RULE_KIND_USER}}}, {"sales"})));
  EXPECT_THAT(prometheus::TextSerializer().Serialize(store_options_.registry->Collect()),
              HasSubstr("sluice_store_set_apart_total{reason=\"large_event\"} 1"));
  EXPECT_TRUE(Await([&] { return stores_->ApartOf(PartitionOf()).empty(); }));
  threads_left = kAsMany;
  Stop();
}

TEST_F(NoThreadsTest, APartitionThatComesWithoutThreadsIsToldAndTriedAgain) {
  store_options_.path = dir_ / "stores";
  store_options_.log_id = "the log";
  stores_ = StoreManager::Open(store_options_).value();
  LaterGroup group;
  StagingProjector projector(*log_, group, *stores_, *clock_, options_);
  ASSERT_TRUE(projector.Start().ok());
  threads_left = 0;
  group.Assign();
  EXPECT_EQ(ErrorCode(projector.Health()), "no_threads");
  EXPECT_EQ(ErrorCode(projector.MayServe(PartitionId(0))), "not_served_here");
  threads_left = kAsMany;
  EXPECT_TRUE(Await([&] { return projector.Health().ok(); }));
  EXPECT_TRUE(projector.MayServe(PartitionId(0)).ok());
  projector.Stop();
}

TEST_F(NoThreadsTest, ASequencerThatComesWithoutAThreadIsToldAndTriedAgain) {
  LaterGroup group;
  ProvisioningProjector projector(
      *log_, group, *clock_, [](const OrgId&) { return kNoOffset; }, nullptr);
  ASSERT_TRUE(projector.Start().ok());
  threads_left = 0;
  group.Assign();
  EXPECT_EQ(ErrorCode(projector.Health()), "no_threads");
  threads_left = kAsMany;
  EXPECT_TRUE(Await([&] { return projector.Health().ok(); }));
  projector.Stop();
}

// At the start nothing is served yet: whoever starts the process sees the reason.
TEST_F(NoThreadsTest, AStartFails) {
  eventlog::StaticPartitionGroup group(kPartitions);
  ProvisioningProjector projector(
      *log_, group, *clock_, [](const OrgId&) { return kNoOffset; }, nullptr);
  threads_left = 1;
  EXPECT_EQ(ErrorCode(projector.Start()), "no_threads");
}

}  // namespace
}  // namespace sluice::projectors
