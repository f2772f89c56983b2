#include "tests/support/rows/row_checks.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace sluice::testing {
namespace {

std::string Dump(const PlainColumns& columns) {
  std::string text;
  for (const auto& [id, value] : columns) {
    text += fmt::format(" a{}={}", id, value.dump());
  }
  return text;
}

bool IsEdge(const nlohmann::json& value) {
  const auto ends = [&value](std::span<const PlainMoment> moments) {
    return value == std::string(moments.front().text) || value == std::string(moments.back().text);
  };
  return ends(PlainDates()) || ends(PlainTimes());
}

}  // namespace

RowChecks::RowChecks(std::string who, OrgRecord& record, RowsReport& report)
    : who_(std::move(who)), record_(record), report_(report) {}

void RowChecks::Fail(const std::string& what, const RowsAt& at) {
  report_.Fail(fmt::format("{} {} at {}: {}", record_.name(), who_, at.position, what));
}

PlainColumns RowChecks::TakePut(const nlohmann::json& op, const RowsAt& at,
                                const PlainColumns* held) {
  const RowName name = NameOf(op);
  PlainColumns columns;
  const auto expected = at.rows->find(name);
  if (expected == at.rows->end()) {
    Fail(fmt::format("is sent {} that it may not have", op.dump()), at);
    return columns;
  }
  const PlainModel::Entity& entity = at.model->entities().at(name.first);
  for (const auto& [column, value] : op["row"].items()) {
    const PlainAttribute* attribute = entity.schema.Find(column);
    if (attribute == nullptr) {
      Fail(fmt::format("is sent {} with a column that is none", op.dump()), at);
      return columns;
    }
    columns[attribute->id] = value;
  }
  if (columns != expected->second) {
    Fail(fmt::format("is sent {}, expected are {}", op.dump(), Dump(expected->second)), at);
  }
  CountPut(op, entity, columns, held);
  return columns;
}

void RowChecks::TakeRemove(const nlohmann::json& op, const RowsAt& at, bool held, int64_t from) {
  RowsCounters& counters = report_.counters;
  ++counters.removes;
  if (op.contains("row")) {
    Fail(fmt::format("is sent the row of a removal: {}", op.dump()), at);
  }
  if (held) {
    return;
  }
  const RowName name = NameOf(op);
  if (record_.EverHad(used_, name, from)) {
    ++counters.unknown;
  } else if (record_.EverInBuckets(used_, name, from)) {
    ++counters.never_had;
  } else {
    Fail(fmt::format("is told of {}, of which it never had to know", op.dump()), at);
  }
}

void RowChecks::Compare(const PlainRows& held, const RowsAt& at) {
  for (const auto& [name, columns] : *at.rows) {
    const auto found = held.find(name);
    if (found == held.end()) {
      Fail(fmt::format("lacks {} {}: {}", name.first, name.second, Dump(columns)), at);
    } else {
      CompareColumns(name, found->second, columns, at);
    }
  }
  for (const auto& [name, columns] : held) {
    if (!at.rows->contains(name)) {
      Fail(fmt::format("still has {} {}: {}", name.first, name.second, Dump(columns)), at);
    }
  }
}

void RowChecks::CompareColumns(const RowName& name, const PlainColumns& held,
                               const PlainColumns& expected, const RowsAt& at) {
  PlainColumns now;
  const PlainEntity& schema = at.model->entities().at(name.first).schema;
  for (const PlainAttribute& attribute : schema.attributes) {
    if (const auto value = held.find(attribute.id); value != held.end()) {
      now.insert(*value);
    }
  }
  // Whoever keeps rows by name has a removed attribute's value under the new one's.
  for (const PlainAttribute& removed : schema.removed) {
    const PlainAttribute* again = schema.Find(removed.name);
    if (const auto value = held.find(removed.id); value != held.end() && again != nullptr) {
      now.emplace(again->id, value->second);
    }
  }
  if (now != expected) {
    Fail(fmt::format("has {} {} as {}, expected {}", name.first, name.second, Dump(now),
                     Dump(expected)),
         at);
  }
}

void RowChecks::CountPut(const nlohmann::json& op, const PlainModel::Entity& entity,
                         const PlainColumns& columns, const PlainColumns* held) {
  RowsCounters& counters = report_.counters;
  ++counters.puts;
  counters.repeats += held != nullptr && *held == columns ? 1 : 0;
  const int64_t offset = std::stoll(op["position"].get<std::string>());
  counters.edges +=
      std::ranges::any_of(columns, [](const auto& column) { return IsEdge(column.second); });
  counters.related += record_.Names(offset, NameOf(op)) ? 0 : 1;
  const auto row = entity.rows.find(op["key"].get<std::string>());
  for (const PlainAttribute& attribute : entity.schema.attributes) {
    if (row != entity.rows.end() && row->second.values.contains(attribute.id) &&
        !columns.contains(attribute.id)) {
      ++counters.masked;
      break;
    }
  }
}

}  // namespace sluice::testing
