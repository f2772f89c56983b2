#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace sluice::testing {

// An OData service with one entity set, "Items", on a free port of 127.0.0.1, that behaves as well
// or as badly as a test wants. It speaks 4.0, and 4.01 to who asks for it. Thread-safe; answers one
// request after the other.
class FakeOData {
 public:
  struct Options {
    bool composed_key = false;  // (Group, No), which are ID / 10 and ID % 10, in place of ID
    bool swapped_key = false;   // the composed one is (No, Group)
    bool tracks = true;         // heeds odata.track-changes
    bool counts = true;         // takes $count=true; else it answers with this
    int no_count_status = 400;
    int64_t count_more = 0;  // than there are rows
    bool by_offset = false;  // pages of a load begin behind so many rows, not behind a row
    bool partial = false;    // deltas have but the properties that have changed
    bool relative_links = false;
    bool keys_in_deletes = false;  // deleted rows have their key's properties, and no id
    size_t page_rows = 7;          // of a page, whatever is asked for
  };
  // What becomes of a request for rows in place of an answer.
  enum class Fault : uint8_t {
    kTooManyRequests,  // 429 with Retry-After: 7
    kFailed,           // 500
    kUnauthorized,     // 401
    kGone,             // 410
    kCut,              // the connection ends amid the page
    kCutJson,          // the answer ends amid its JSON, with a length that is right
    kHtml,             // HTML with status 200
    kLoop,             // next links lead to this page, until ClearFaults()
    kElsewhere,        // the next link leads to another host
    kNoLink,           // neither a next nor a delta link
    kEmpty,            // no rows, no link
    kBadLink,          // the next link is a number
    kHollow,           // no rows, but a next link, each time a new one, until ClearFaults()
  };
  struct Row {
    std::optional<std::string> name = {};  // Name, Edm.String
    std::string balance = "0";  // Balance, Edm.Decimal; what is none makes the row a bad one
    bool operator==(const Row&) const = default;
  };

  explicit FakeOData(const Options& options);
  ~FakeOData();

  std::string url() const;  // of its root

  // Each change has a time of its own, later than all before.
  void Put(int64_t id, Row row);
  void Remove(int64_t id);
  void Advance(int64_t micros);
  [[nodiscard]] int64_t now_us() const;
  [[nodiscard]] std::map<int64_t, Row> rows() const;
  // Of the row: "5", or of a composed key "0,5".
  [[nodiscard]] std::string KeyOf(int64_t id) const;
  [[nodiscard]] size_t changes() const;  // Put() and Remove() that changed something

  // The next request for rows has that fault, and after it the next.
  void Fail(Fault fault);
  void ClearFaults();
  // Delta links, and links amid pages, that were given until now are 410.
  void Expire();
  void Change(const std::function<void(Options&)>& change);
  // Runs before each page is made, on the service's thread: rows may change amid a load.
  void set_before_page(std::function<void()> hook);

  // Heads of requests for rows.
  [[nodiscard]] std::vector<std::string> requests() const;
  [[nodiscard]] int metadata_requests() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::testing
