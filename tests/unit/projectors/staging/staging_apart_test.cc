// The two threads of a partition, over an embedded log: who is apart comes back by itself.
#include <filesystem>

#include "tests/support/log_reading.h"
#include "tests/support/store_fixture.h"
#include "tests/unit/projectors/staging/staging_testing.h"

namespace sluice::projectors {
namespace {

namespace fs = std::filesystem;

class StagingApartTest : public StagingFixture {
 protected:
  void SetUp() override {
    StagingFixture::SetUp();
    store_options_ = testing::SmallStoreOptions(dir_ / "stores");
    store_options_.sets_apart = true;
    store_options_.fold.step_rows = 20;
    other_ = OrgOfSamePartition();
    AppendDefinitions();
    AppendDefinitions(other_);
  }
  void AppendRows(int count) {
    for (int i = 0; i < count; ++i) {
      last_ = Append(Set("A" + std::to_string(i)));
      last_other_ = Append(other_, Set("B" + std::to_string(i)));
    }
  }
  // Looks at every row of the organisation, in parts.
  void AppendLarge() {
    last_ = Append(testing::DefineProfile("p", {{"account", {v1::RULE_KIND_USER}}}, {"r"}));
  }
  void AwaitNobodyApart() {
    EXPECT_TRUE(Await([&] { return stores_->ApartOf(PartitionOf()).empty(); }));
  }
  // Both stores are what the log makes, whatever has happened.
  void ExpectFoldOfLog() {
    AwaitApplied(last_);
    AwaitApplied(other_, last_other_);
    AwaitNobodyApart();
    const auto log = testing::ReadWholePartition(*log_, Topic::kChanges, PartitionOf());
    const auto contents = testing::FoldPlainly(store_options_.fold, log);
    for (const OrgId& org : {org_, other_}) {
      EXPECT_EQ(stores_->Digest(org).value_or("none"),
                testing::DigestOf(contents.at(org.value()), store_options_.fold.dedup_window))
          << org.value();
    }
  }

  OrgId other_ = org_;
  Offset last_;
  Offset last_other_;
};

TEST_F(StagingApartTest, LargeEventsOfOneAmongTheOthers) {
  AppendRows(100);
  Start();
  for (int i = 0; i < 10; ++i) {
    AppendLarge();
    AppendRows(3);
    last_ = Append(testing::DefineProfile("p", {{"account", {v1::RULE_KIND_ALL}}}, {}));
  }
  ExpectFoldOfLog();
  Stop();
}

TEST_F(StagingApartTest, ADamagedStoreIsBuiltAnewAndItsNeighbourIsServed) {
  AppendRows(60);
  Start();
  AwaitApplied(last_);
  AwaitApplied(other_, last_other_);
  Stop();
  const std::string folder = dir_ / "stores/orgs/acme/1";
  fs::remove(folder + "/CURRENT");
  Start();
  AppendRows(5);
  AwaitApplied(other_, last_other_);
  EXPECT_TRUE(Await([&] { return projector_->MayServe(other_).ok(); }));
  ExpectFoldOfLog();
  EXPECT_TRUE(Await([&] { return projector_->MayServe(org_).ok(); }));
  EXPECT_TRUE(fs::exists(folder + ".damaged-1"));
  EXPECT_TRUE(AwaitHealth(absl::StatusCode::kOk).ok());
  Stop();
}

TEST_F(StagingApartTest, AFolderThatHasGoneIsBuiltAnew) {
  AppendRows(60);
  Start();
  AwaitApplied(last_);
  AwaitApplied(other_, last_other_);
  Stop();
  fs::remove_all(dir_ / "stores/orgs/acme");
  AppendRows(5);
  Start();
  EXPECT_FALSE(projector_->MayServe(org_).ok());
  ExpectFoldOfLog();
  Stop();
  Start();
  ExpectFoldOfLog();
  Stop();
}

TEST_F(StagingApartTest, RejectionsOfWhoIsApartReachTheDeadLetters) {
  AppendRows(60);
  Start();
  AppendLarge();
  Append(testing::MakeSet({testing::Delete(9, "A1")}, "s1", "crm"));
  AppendRows(1);
  ExpectFoldOfLog();
  const std::vector<Event> letters = DeadLetters(1);
  ASSERT_FALSE(letters.empty());
  v1::DeadLetter letter;
  ASSERT_TRUE(letter.ParseFromString(letters[0].value));
  EXPECT_EQ(letter.code(), "unknown_entity");
  Stop();
}

}  // namespace
}  // namespace sluice::projectors
