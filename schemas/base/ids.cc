#include "schemas/base/ids.h"

#include <fmt/format.h>

#include <algorithm>

#include "schemas/base/sha256.h"
#include "schemas/base/status.h"

namespace sluice {

absl::StatusOr<OrgId> OrgId::Parse(std::string_view text) {
  const auto alnum = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  const bool valid =
      !text.empty() && text.size() <= 63 && alnum(text.front()) && alnum(text.back()) &&
      std::all_of(text.begin(), text.end(), [&](char c) { return alnum(c) || c == '-'; });
  if (!valid) {
    return Invalid("invalid_argument",
                   "organisation name \"{}\" is not a DNS label: use 1 to 63 of a-z, 0-9 and -, "
                   "beginning and ending with a letter or digit",
                   text.substr(0, 80));
  }
  return OrgId(text);
}

BucketKey BucketKey::OfName(std::string_view name) {
  const Sha256Digest digest = Sha256(name);
  return {DigestWord(digest, 0), DigestWord(digest, 8)};
}

std::string BucketKey::ToHex() const { return fmt::format("{:016x}{:016x}", high, low); }

std::string Position::ToString() const { return fmt::format("{}.{}", offset.value(), index); }

}  // namespace sluice
