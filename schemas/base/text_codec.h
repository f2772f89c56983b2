#pragma once

#include <optional>
#include <string>
#include <string_view>

// Text forms of binary values: base64, base64url, hyphenated uuids, UTF-8. Thread-safe.
namespace sluice {

[[nodiscard]] bool IsValidUtf8(std::string_view text);

// Bytes that the well-formed UTF-8 sequence at the start of `text` takes; 0 where there is none.
[[nodiscard]] size_t Utf8SequenceSize(std::string_view text);

// RFC 4648 base64, standard alphabet, padded. Decode is strict: no blanks, no missing padding, no
// bits set that belong to no byte, so that every value has one text. nullopt where it is not.
[[nodiscard]] std::optional<std::string> DecodeBase64(std::string_view text);
[[nodiscard]] constexpr size_t Base64Size(size_t bytes) { return (bytes + 2) / 3 * 4; }
// Writes Base64Size(bytes.size()) characters to `out`.
void EncodeBase64(std::string_view bytes, char* out);

// base64url without padding (RFC 7515, section 2). Decode is as strict, and refuses padding, so
// that a signed text has one form.
[[nodiscard]] std::optional<std::string> DecodeBase64Url(std::string_view text);
[[nodiscard]] std::string EncodeBase64Url(std::string_view bytes);

inline constexpr size_t kUuidTextSize = 36;
inline constexpr size_t kUuidSize = 16;
// The 16 bytes of "1b4e28ba-2fa1-11d2-883f-0016d3cca427", digits of either case; nullopt where it
// is not of that form.
[[nodiscard]] std::optional<std::string> DecodeUuid(std::string_view text);
// Writes kUuidTextSize characters, lower case, to `out`; `bytes` are 16.
void EncodeUuid(std::string_view bytes, char* out);

}  // namespace sluice
