#pragma once

#include <cstddef>
#include <cstdint>
#include <istream>
#include <optional>
#include <string>

namespace sluice::ops {

// A line of an input, and which.
struct InputLine {
  uint64_t number = 0;  // from 1, as editors count
  std::string text{};   // without the line's end; empty where it is too long
  bool too_long = false;
};

// Reads the lines of a file that have something in them. A byte order mark at the beginning is left
// out; lines end with LF or CR LF. Not thread-safe.
class LineReader {
 public:
  // A line of more than `bytes_max` is skipped without being held. `in` must outlive it.
  LineReader(std::istream& in, size_t bytes_max);

  // nullopt at the end of the input, and where it can't be read on (then failed()).
  [[nodiscard]] std::optional<InputLine> Next();
  [[nodiscard]] bool failed() const { return in_.bad(); }
  [[nodiscard]] uint64_t bytes_read() const { return bytes_read_; }

 private:
  bool Fill();
  // Moves what is up to the line's end into `line`; false where the input ends without one.
  bool Take(InputLine* line);

  std::istream& in_;
  const size_t bytes_max_;
  std::string buffer_;
  size_t position_ = 0;  // of what is not yet taken in buffer_
  uint64_t number_ = 0;
  uint64_t bytes_read_ = 0;
};

}  // namespace sluice::ops
