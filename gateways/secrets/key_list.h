#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace sluice::gateways {

// Where a sealing key is.
struct KeySetting {
  enum class Kind : uint8_t { kFile, kEnvironment, kPkcs11 };
  std::string id;  // [A-Za-z0-9_-]{1,32}; kept beside what it seals
  Kind kind = Kind::kFile;
  std::string where;  // a path, a variable's name, or an RFC 7512 URI with its "pkcs11:"
};

inline constexpr size_t kSealingKeysMax = 16;

// The setting `secrets.keys`: entries "ID=file:PATH", "ID=env:NAME" or "ID=pkcs11:...", separated
// by commas, blanks around them ignored; a comma within a URI is written "%2C". Empty text is no
// keys. kInvalidArgument for anything else and for an id that comes twice; the message repeats ids
// only, as somebody may have written the key itself there.
[[nodiscard]] absl::StatusOr<std::vector<KeySetting>> ParseKeyList(std::string_view text);

}  // namespace sluice::gateways
