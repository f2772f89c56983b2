#include <absl/strings/escaping.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <xxhash.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "gateways/sync/cursor.h"
#include "gateways/sync/identity_hash.h"
#include "gateways/sync/sync_request.h"

// What clients hand in: cursors, request targets and stream bodies. Nothing may crash, and a cursor
// that is accepted is one that we would have written.

namespace {

using namespace sluice::gateways;

void Require(bool ok) {
  if (!ok) {
    std::abort();
  }
}

void AppendFixed64(uint64_t value, std::string* out) {
  for (int shift = 56; shift >= 0; shift -= 8) {
    out->push_back(static_cast<char>(value >> shift));
  }
}

// A cursor of this content with the authenticator and checksum of gateways/docs/sync.md: no input
// would come past them by chance, and what is behind them would never be read.
std::string Authentic(std::string_view content) {
  std::string bytes(1, 3);
  bytes += BytesOf(HashIdentity("log"));
  bytes += BytesOf(HashIdentity("org"));
  bytes += content;
  constexpr std::string_view kKey = "sluice delta cursor 3 secret";
  unsigned char digest[EVP_MAX_MD_SIZE] = {};
  HMAC(EVP_sha256(), kKey.data(), static_cast<int>(kKey.size()),
       reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), digest, nullptr);
  bytes.append(reinterpret_cast<const char*>(digest), 16);
  AppendFixed64(XXH64(bytes.data(), bytes.size(), 0), &bytes);
  return absl::WebSafeBase64Escape(bytes);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  static const CursorCodec codec("log", "secret");
  const std::string copy(input);
  for (const std::string& text : {copy, absl::WebSafeBase64Escape(copy)}) {
    const auto cursor = codec.Decode("org", text);
    Require(!cursor.ok() || codec.Encode("org", *cursor) == text);
  }
  const auto cursor = codec.Decode("org", Authentic(input));
  // Its numbers may be longer than we write them.
  Require(cursor.ok() ? *codec.Decode("org", codec.Encode("org", *cursor)) == *cursor
                      : cursor.status().message().find("content") != std::string_view::npos);
  const std::string_view path = input.substr(0, input.find('?'));
  const std::string fresh = FreshStart(path, input.substr(std::min(path.size() + 1, size)));
  Require(MatchSyncRoute("GET", fresh.substr(0, fresh.find('?'))).info ==
          MatchSyncRoute("GET", path).info);
  (void)ParseDeltaRequest(input);
  (void)ParseStreamRequest(input);
  return 0;
}
