#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace sluice::gateways {

// Whether a Content-Type says JSON: "application/json" or one that ends with "+json", whatever its
// parameters.
[[nodiscard]] bool IsJsonContentType(std::string_view content_type);

// What a page says of itself, in either spelling ("@odata.nextLink", "@nextLink").
struct PageEnd {
  std::optional<std::string> next_link;
  std::optional<std::string> delta_link;
  std::optional<uint64_t> count;
  uint64_t rows = 0;
};

// Cuts a page of an OData service, a JSON object whose member "value" is an array of objects, into
// the texts of these, as it comes: nothing is held but one row and the links. The structure is
// checked; what is within a row is its reader's to check. Not thread-safe.
class PageReader {
 public:
  // A row's text is valid during the call. `too_large`: it is longer than the limit, and `text` is
  // its beginning.
  using OnRow = absl::FunctionRef<absl::Status(std::string_view text, bool too_large)>;

  explicit PageReader(size_t row_bytes_max = size_t{1} << 20) : row_bytes_max_(row_bytes_max) {}

  // kUnavailable, code "source_answer_invalid", for what is no such page: no JSON, no object with
  // "value", or an "error" that the service noticed amid its answer. An error of `on_row` ends it
  // and is returned. After an error nothing may be fed.
  [[nodiscard]] absl::Status Feed(std::string_view piece, OnRow on_row);

  // The answer has ended: the page, if it is whole.
  [[nodiscard]] absl::StatusOr<PageEnd> Finish();

  // What the page has said up to here, for who does not read it to its end.
  [[nodiscard]] const PageEnd& so_far() const { return end_; }

 private:
  enum class State : uint8_t {
    kStart,          // before the object
    kMemberOrEnd,    // behind '{': a name, or '}'
    kMember,         // behind ',': a name
    kName,           // in a name
    kColon,          // behind a name
    kMemberValue,    // before a member's value
    kInMemberValue,  // in it
    kAfterMember,    // behind it: ',' or '}'
    kRowOrEnd,       // behind "value":[ : a row, or ']'
    kRow,            // behind ',': a row
    kInRow,          // in a row
    kAfterRow,       // behind it: ',' or ']'
    kEnd,            // behind the object
  };

  absl::Status Step(const char*& at, const char* end, OnRow on_row);
  absl::Status StepBetween(const char*& at);
  absl::Status BeginValue(const char*& at);
  // Goes on in a value, to its end or the piece's.
  absl::Status Scan(const char*& at, const char* end, bool& ended);
  absl::Status EndValue(OnRow on_row);
  absl::Status EndMember();
  void Begin(State state);
  [[nodiscard]] absl::Status Invalid(std::string_view why) const;

  const size_t row_bytes_max_;
  State state_ = State::kStart;
  // Of the value that is being read: a row, a name or another member's value.
  std::string closers_;  // '}' or ']' for each that is open
  bool in_string_ = false;
  bool escaped_ = false;
  std::string text_;
  bool text_cut_ = false;  // there is more of it than is kept

  std::string name_;  // of the member
  bool has_value_ = false;
  PageEnd end_;
};

}  // namespace sluice::gateways
