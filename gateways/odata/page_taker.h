#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gateways/odata/odata_client.h"
#include "gateways/odata/odata_metrics.h"
#include "gateways/odata/odata_row.h"
#include "gateways/sources/connector.h"
#include "schemas/entity_schema.h"

namespace sluice::gateways {

// What is made of a page's rows.
enum class RowUse : uint8_t {
  kLoad,   // all rows of the entity: those that do not come will be swept
  kDelta,  // changed and deleted ones: what a row does not say stays as it is
  kPoll,   // changed ones, whole
  kKeys,   // nothing but that they are there; those that do not come will be swept
};

// Takes the rows of pages to a sink in sets, none larger than a set of a load may be. The cursor
// moves with the last set of a page alone, so that what ends amid a page reads that page again. For
// one run; not thread-safe.
class PageTaker {
 public:
  struct Stream {
    std::string entity;  // its name
    std::shared_ptr<const schemas::EntitySchema> schema;
    // The attribute with the time of a row's last change; nullopt: there is none.
    std::optional<schemas::AttributeId> modified;
  };

  // All but `stream` must outlive this.
  PageTaker(ODataClient& client, RowSink& sink, ODataRowReader& rows, ODataMetrics& metrics,
            Stream stream)
      : client_(client), sink_(sink), rows_(rows), metrics_(metrics), stream_(std::move(stream)) {}

  // Reads a page. Its last rows, possibly none, are kept for Append(). kFailedPrecondition, code
  // "link_loop": page after page has a link, but no row.
  [[nodiscard]] absl::StatusOr<ODataPage> Take(const Url& url, RowUse use);

  // Appends the rows that are kept, if there are any or `cursor` moves. Of a cursor all is kept but
  // `refused`, which is what this knows.
  [[nodiscard]] absl::Status Append(const v1::ODataCursor* cursor);
  // Appends the end of a load: rows with a version below `version` are deleted.
  [[nodiscard]] absl::Status Sweep(uint64_t version, const v1::ODataCursor& cursor);

  // Which rows were refused, so that what is stored of them is not what the source has, if anything
  // is: those that `cursor` names, or none. Loads and deltas add to them.
  void SetRefused(const v1::ODataCursor& cursor);
  void ForgetRefused() { refused_.clear(); }

  // A poll asks again for what has changed of late. Between the two, the sets that the poll before
  // began with just so, by the hashes of `cursor`, are not appended again.
  void BeginPoll(const v1::ODataCursor& cursor);
  void EndPoll(v1::ODataCursor& cursor);
  // Drops the rows that are kept, where they are such a set.
  void DropKnown();

  // Rows of the last page that were taken, and that were refused.
  [[nodiscard]] uint64_t taken() const { return taken_; }
  [[nodiscard]] uint64_t rejected() const { return rejected_; }
  // Some row of the last page was refused whose key is not known.
  [[nodiscard]] bool keys_unknown() const { return keys_unknown_; }
  // Upserts of all pages, but for those dropped.
  [[nodiscard]] uint64_t upserts() const { return upserts_; }
  // A delta had but a part of a row that was refused before: the row has to be loaded.
  [[nodiscard]] bool needs_load() const { return needs_load_; }
  // Rows are kept, so the next set has some.
  [[nodiscard]] bool keeps_rows() const { return !ops_.empty(); }
  // The newest time of change of all pages, microseconds since 1970. nullopt where no row had one.
  [[nodiscard]] std::optional<int64_t> newest_us() const { return newest_us_; }

 private:
  absl::Status TakeRow(std::string_view text, bool too_large, RowUse use);
  absl::Status Refuse(const ODataRow& row, std::string_view text, RowUse use);
  absl::Status Add(v1::Operation op);
  void LookAtModified(std::string_view row);
  [[nodiscard]] bool IsRefused(std::string_view key) const;
  [[nodiscard]] std::string CursorText(v1::ODataCursor cursor) const;

  ODataClient& client_;
  RowSink& sink_;
  ODataRowReader& rows_;
  ODataMetrics& metrics_;
  const Stream stream_;

  std::vector<v1::Operation> ops_;
  size_t bytes_ = 0;
  absl::flat_hash_set<std::string> keys_;  // of `ops_`, in a delta
  uint64_t taken_ = 0;
  uint64_t rejected_ = 0;  // of the page
  bool keys_unknown_ = false;
  uint64_t upserts_ = 0;
  uint64_t empty_pages_ = 0;  // successive ones
  std::optional<int64_t> newest_us_;
  std::set<uint64_t> refused_;  // hashes of keys; full: any row may have been
  bool needs_load_ = false;
  bool in_poll_ = false;
  std::vector<uint64_t> known_sets_;  // hashes of those of the poll before, in order
  std::vector<uint64_t> sets_;        // likewise of the poll
  size_t dropped_ = 0;                // sets of the poll, from its begin
};

}  // namespace sluice::gateways
