#include "gateways/secrets/key_list.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "schemas/base/ascii.h"

namespace sluice::gateways {
namespace {

constexpr size_t kIdBytesMax = 32;
constexpr std::string_view kBlank = " ";
constexpr std::string_view kPkcs11 = "pkcs11:";

bool IsId(std::string_view text) {
  return !text.empty() && text.size() <= kIdBytesMax && std::ranges::all_of(text, [](char c) {
    return IsLetterOrDigit(c) || c == '_' || c == '-';
  });
}

std::optional<KeySetting> ParseEntry(std::string_view entry) {
  const size_t equals = entry.find('=');
  if (equals == std::string_view::npos || !IsId(entry.substr(0, equals))) {
    return std::nullopt;
  }
  KeySetting key;
  key.id = entry.substr(0, equals);
  std::string_view where = entry.substr(equals + 1);
  if (where.starts_with(kPkcs11)) {
    key.kind = KeySetting::Kind::kPkcs11;
    key.where = where;
    return where.size() > kPkcs11.size() ? std::optional(key) : std::nullopt;
  }
  if (where.starts_with("file:")) {
    where.remove_prefix(5);
    key.kind = KeySetting::Kind::kFile;
  } else if (where.starts_with("env:")) {
    where.remove_prefix(4);
    key.kind = KeySetting::Kind::kEnvironment;
  } else {
    return std::nullopt;
  }
  key.where = where;
  return where.empty() ? std::nullopt : std::optional(key);
}

}  // namespace

absl::StatusOr<std::vector<KeySetting>> ParseKeyList(std::string_view text) {
  std::vector<KeySetting> keys;
  if (TrimBlanks(text, kBlank).empty()) {
    return keys;
  }
  if (text.find('\0') != std::string_view::npos) {
    return absl::InvalidArgumentError("secrets.keys holds U+0000");
  }
  for (bool more = true; more;) {
    const size_t comma = text.find(',');
    more = comma != std::string_view::npos;
    const std::optional<KeySetting> key = ParseEntry(TrimBlanks(text.substr(0, comma), kBlank));
    text.remove_prefix(more ? comma + 1 : text.size());
    if (!key.has_value()) {
      return absl::InvalidArgumentError(fmt::format(
          "entry {} of secrets.keys is not ID=file:PATH, ID=env:NAME or ID=pkcs11:..., where ID "
          "has 1 to {} letters, digits, '_' or '-'",
          keys.size() + 1, kIdBytesMax));
    }
    if (std::ranges::find(keys, key->id, &KeySetting::id) != keys.end()) {
      return absl::InvalidArgumentError(
          fmt::format("secrets.keys has the id {} twice; a new key gets a new id", key->id));
    }
    if (keys.size() == kSealingKeysMax) {
      return absl::InvalidArgumentError(
          fmt::format("secrets.keys has more than {} keys", kSealingKeysMax));
    }
    keys.push_back(*key);
  }
  return keys;
}

}  // namespace sluice::gateways
