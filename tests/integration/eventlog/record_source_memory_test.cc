#include "tests/integration/eventlog/record_source_conformance.h"
#include "tests/support/memory_records.h"

namespace sluice::eventlog {
namespace {

class MemoryRecordsFixture final : public RecordsFixture {
 public:
  std::unique_ptr<RecordSource> Open() override {
    return std::make_unique<testing::MemoryRecords>(topics_);
  }
  std::string NewName() override { return "topic" + std::to_string(++names_); }
  void Create(const std::string& topic, int partitions) override {
    topics_.Create(topic, partitions);
  }
  void Delete(const std::string& /*topic*/) override {}  // Create() makes it anew
  void Append(const std::string& topic, int partition, const Record& record) override {
    topics_.Append(topic, partition, record);
  }
  int AppendGap(const std::string& topic, int partition) override {
    topics_.AppendGap(topic, partition);
    return 1;
  }
  void TruncateBefore(const std::string& topic, int partition, Offset begin) override {
    topics_.TruncateBefore(topic, partition, begin);
  }

 private:
  testing::MemoryTopics topics_;
  int names_ = 0;
};

INSTANTIATE_TEST_SUITE_P(Memory, RecordSourceConformance,
                         ::testing::Values(RecordsUnderTest{
                             "Memory", [] { return std::make_unique<MemoryRecordsFixture>(); }}),
                         RecordsUnderTestName);

}  // namespace
}  // namespace sluice::eventlog
