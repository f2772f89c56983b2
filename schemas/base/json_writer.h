#pragma once

#include <cstddef>
#include <cstring>
#include <string>
#include <string_view>

// Writes pieces of JSON through a buffer on the stack: a std::string's append costs more than
// copying the few bytes that most values have.
namespace sluice {

// Appends to `out` whatever was written, at the latest in Flush(). Not thread-safe.
class JsonWriter {
 public:
  explicit JsonWriter(std::string* out) : out_(out) {}
  JsonWriter(const JsonWriter&) = delete;
  JsonWriter& operator=(const JsonWriter&) = delete;

  // Room for `size` bytes (at most kReserveMax); write there, then call Advance().
  char* Reserve(size_t size) {
    if (static_cast<size_t>(buffer_ + kSize - at_) < size) {
      Flush();
    }
    return at_;
  }
  void Advance(size_t size) { at_ += size; }

  // Text that needs no escaping.
  void Raw(std::string_view text) {
    if (text.size() > kReserveMax) {
      Flush();
      out_->append(text);
      return;
    }
    std::memcpy(Reserve(text.size()), text.data(), text.size());
    Advance(text.size());
  }
  void Raw(char c) {
    *Reserve(1) = c;
    Advance(1);
  }

  // A JSON string: quoted, escaped; invalid UTF-8 becomes U+FFFD, one for each byte that starts no
  // sequence.
  void String(std::string_view text);

  // A JSON string with the base64 of `bytes`.
  void Base64(std::string_view bytes);

  void Flush() {
    out_->append(buffer_, static_cast<size_t>(at_ - buffer_));
    at_ = buffer_;
  }

  static constexpr size_t kReserveMax = 256;

 private:
  static constexpr size_t kSize = 2048;

  // Copies the start of [p, end) that needs no escaping; where it ends.
  const char* CopyClean(const char* p, const char* end, bool valid_utf8);
  // Writes what stands for the character at `p`; the byte after the character.
  const char* Escape(const char* p, const char* end);

  std::string* out_;
  char* at_ = buffer_;
  char buffer_[kSize];
};

// Appends `text` as a JSON string, quoted and escaped; invalid UTF-8 becomes U+FFFD.
void AppendJsonString(std::string_view text, std::string* out);

// `value` for an error message: quoted, escaped, cut to some 40 bytes.
[[nodiscard]] std::string QuoteForError(std::string_view value);

}  // namespace sluice
