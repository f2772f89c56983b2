#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "eventlog/record_source.h"

// The contract of eventlog/record_source.h as one suite over every implementation, used as
// log_conformance.h is.
namespace sluice::eventlog {

// Topics that others write.
class RecordsFixture {
 public:
  virtual ~RecordsFixture() = default;

  virtual std::unique_ptr<RecordSource> Open() = 0;
  // A name that no other test has; no topic yet.
  virtual std::string NewName() = 0;
  virtual void Create(const std::string& topic, int partitions) = 0;
  virtual void Delete(const std::string& topic) = 0;
  // Returns when it is there.
  virtual void Append(const std::string& topic, int partition, const Record& record) = 0;
  // Offsets without a record behind the last one. How many.
  virtual int AppendGap(const std::string& topic, int partition) = 0;
  virtual void TruncateBefore(const std::string& topic, int partition, Offset begin) = 0;
};

struct RecordsUnderTest {
  std::string name;
  std::function<std::unique_ptr<RecordsFixture>()> make_fixture;
};

inline std::string RecordsUnderTestName(const ::testing::TestParamInfo<RecordsUnderTest>& info) {
  return info.param.name;
}

class RecordSourceConformance : public ::testing::TestWithParam<RecordsUnderTest> {
 protected:
  void SetUp() override;

  // Appends records whose values are "<prefix>0", "<prefix>1", ...
  void Append(int partition, const std::string& prefix, int count);
  // The next `count` records; fewer, with a failure, where they don't come.
  std::vector<Record> MustRead(RecordSource& source, size_t count);
  std::vector<RecordPlace> Both(Offset next) const;

  std::unique_ptr<RecordsFixture> fixture_;
  std::string topic_;  // of two partitions
};

}  // namespace sluice::eventlog
