#pragma once

#include <cstdint>
#include <string>

#include "tests/support/rows/org_record.h"

// What both kinds of clients check of every operation, and of what they hold in the end. Problems
// go to the report. Not thread-safe.
namespace sluice::testing {

class RowChecks {
 public:
  // Both must outlive it.
  RowChecks(std::string who, OrgRecord& record, RowsReport& report);

  // The client has asked with these claims, and was answered from this position.
  void Use(size_t claims, int64_t position) { used_[claims] = position; }
  void Fail(const std::string& what, const RowsAt& at);
  static RowName NameOf(const nlohmann::json& op) { return {op["entity"], op["key"]}; }

  // The columns of a put, whose row must be one of the caller's as it is now: by the attribute ids
  // of now, as a client has them that follows the schema. `held`: what the client has of it, or
  // nullptr.
  PlainColumns TakePut(const nlohmann::json& op, const RowsAt& at, const PlainColumns* held);

  // A removal of what the client does not hold may repeat an earlier one, or tell of a row that
  // came and went; but the client's claims must have had the row while it had them, from `from` on,
  // where it has begun. One exception: a bucket that is lost because roles have changed tells of
  // what was in it for those who may.
  void TakeRemove(const nlohmann::json& op, const RowsAt& at, bool held, int64_t from);

  // Are the client's rows exactly the caller's? Columns of attributes that are no more are no
  // matter, as long as no other attribute has their name.
  void Compare(const PlainRows& held, const RowsAt& at);

 private:
  void CompareColumns(const RowName& name, const PlainColumns& held, const PlainColumns& expected,
                      const RowsAt& at);
  void CountPut(const nlohmann::json& op, const PlainModel::Entity& entity,
                const PlainColumns& columns, const PlainColumns* held);

  const std::string who_;
  OrgRecord& record_;
  RowsReport& report_;
  OrgRecord::Used used_;
};

}  // namespace sluice::testing
