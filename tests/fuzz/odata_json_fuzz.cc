// Any bytes as a page of a service: an error, or rows that are whole, however the page is cut into
// pieces. A first byte that is no '{' makes it the id of an entity.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "gateways/odata/key_predicate.h"
#include "gateways/odata/odata_row.h"
#include "gateways/odata/page_reader.h"
#include "schemas/row_codec.h"
#include "tests/unit/gateways/odata/shop_entities.h"

namespace {

using sluice::gateways::MappedEntity;
using sluice::gateways::ODataRow;
using sluice::gateways::ODataRowReader;
using sluice::schemas::EntitySchema;

// An entity, and a reader of its rows.
struct Reading {
  MappedEntity entity;
  std::shared_ptr<const EntitySchema> schema;
  std::unique_ptr<ODataRowReader> reader;

  explicit Reading(const char* set)
      : entity(sluice::testing::ShopEntity(set)),
        schema(sluice::testing::SchemaOf(entity)),
        reader(*ODataRowReader::Create(entity, schema)) {}
};

void Check(Reading& reading, std::string_view json) {
  const ODataRow row = reading.reader->Read(json);
  if (!row.status.ok() || row.kind == ODataRow::Kind::kPassedOver) {
    return;
  }
  const bool good = sluice::schemas::ValidateKey(row.key).ok() &&
                    (row.kind == ODataRow::Kind::kDelete ||
                     sluice::schemas::ValidateRow(*reading.schema, row.bytes).ok());
  if (!good || !std::ranges::is_sorted(row.missing)) {
    std::abort();
  }
}

// The rows of a page in pieces of `piece` bytes; empty where it is none.
std::vector<std::string> RowsOf(std::string_view text, size_t piece) {
  std::vector<std::string> rows;
  sluice::gateways::PageReader reader(64);
  for (; !text.empty(); text.remove_prefix(std::min(piece, text.size()))) {
    const auto fed = reader.Feed(text.substr(0, piece), [&](std::string_view row, bool too_large) {
      rows.push_back((too_large ? "!" : "") + std::string(row));
      return absl::OkStatus();
    });
    if (!fed.ok()) {
      return {};
    }
  }
  return reader.Finish().ok() ? rows : std::vector<std::string>();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static auto* const readings = new std::vector<Reading>;
  if (readings->empty()) {
    for (const char* set : {"Items", "Lines", "Named"}) {
      readings->emplace_back(set);
    }
  }
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (!text.starts_with('{')) {
    for (Reading& reading : *readings) {
      const auto key = sluice::gateways::KeyFromId(reading.entity, text);
      if (key.ok() && !sluice::schemas::ValidateKey(*key).ok()) {
        std::abort();
      }
    }
    return 0;
  }
  if (RowsOf(text, 1) != RowsOf(text, size)) {
    std::abort();
  }
  sluice::gateways::PageReader reader;
  (void)reader.Feed(text, [&](std::string_view row, bool) {
    for (Reading& reading : *readings) {
      Check(reading, row);
    }
    return absl::OkStatus();
  });
  for (Reading& reading : *readings) {
    Check(reading, text);
  }
  return 0;
}
