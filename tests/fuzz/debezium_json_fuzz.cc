#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "gateways/debezium/transaction_assembler.h"
#include "gateways/debezium/value_codec.h"
#include "schemas/row_codec.h"
#include "tests/support/schemas/test_schema.h"

// Lines as records of Debezium's topics: "k" a key, "t" a message of transactions, "c" and "d" a
// change in one of two partitions. Nothing may crash, whatever is decoded is a row, and nothing is
// put out that did not come in.

namespace {

using namespace sluice::gateways;
using namespace sluice::schemas;

void Require(bool condition) {
  if (!condition) {
    std::abort();
  }
}

void DecodeRow(const EntitySchema& entity, const ConnectSchema* columns, std::string_view json) {
  static auto* const decoder = new ValueDecoder();
  for (const ConnectSchema* const schema : {columns, static_cast<const ConnectSchema*>(nullptr)}) {
    const auto row = decoder->Decode(entity, schema, json);
    Require(!row.ok() ||
            (ValidateRow(entity, row->bytes).ok() && std::ranges::is_sorted(row->kept)));
  }
  (void)decoder->Suggest(json);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto* const schema =
      new std::shared_ptr<const EntitySchema>(sluice::schemas::testing::EveryType());
  EnvelopeReader reader;
  TransactionAssembler assembler(
      {.held_bytes_max = 2'000, .set_bytes_max = 500, .set_changes_max = 3},
      {{"public.every", sluice::Offset(0)}, {"public.every", sluice::Offset(0)}},
      sluice::Offset(0));
  size_t in = 0;
  size_t out = 0;
  sluice::SteadyTime now{};
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  for (int64_t offset = 0; !rest.empty(); ++offset) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    if (line.empty()) {
      continue;
    }
    const std::string_view json = line.substr(1);
    if (line[0] == 't') {
      if (auto mark = reader.ReadTransaction(json); mark.ok()) {
        assembler.AddMark(sluice::Offset(offset), *std::move(mark), now);
      }
    } else if (line[0] == 'k') {
      if (const auto key = reader.ReadKey(json); key.ok()) {
        DecodeRow(**schema, key->columns.get(), key->key);
      }
    } else if (auto event = reader.ReadChange(json); event.ok()) {
      for (const std::string* const row : {&event->before, &event->after}) {
        DecodeRow(**schema, event->columns.get(), *row);
      }
      assembler.AddChange(line[0] == 'd' ? 1 : 0, {.offset = sluice::Offset(offset),
                                                   .event = *std::move(event),
                                                   .key = {},
                                                   .old_key = {},
                                                   .bytes = line.size()});
      ++in;
    }
    now += std::chrono::seconds(20);
    while (const auto set = assembler.Take()) {
      out += set->changes.size();
    }
    if (assembler.wants_ends(now)) {
      assembler.SetEnds({sluice::Offset(0), sluice::Offset(offset)}, now);
    }
    (void)assembler.TakeSeeks();
  }
  Require(out <= in);
  (void)DecimalText(std::string_view(reinterpret_cast<const char*>(data), size), 2);
  return 0;
}
