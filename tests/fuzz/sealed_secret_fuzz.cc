#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gateways/secrets/file_key.h"
#include "gateways/secrets/key_list.h"
#include "gateways/secrets/memory_key.h"
#include "gateways/secrets/sealer.h"

// Lists of keys, keys as text and sealed secrets, of any bytes. Nothing may crash; a list that is
// taken says what it was read from; and no secret opens that the ring has not sealed.

namespace {

using namespace sluice::gateways;

void Require(bool condition) {
  if (!condition) {
    std::abort();
  }
}

std::string Write(const std::vector<KeySetting>& keys) {
  std::string text;
  for (const KeySetting& key : keys) {
    text += (text.empty() ? "" : ",") + key.id + "=";
    text += key.kind == KeySetting::Kind::kFile          ? "file:"
            : key.kind == KeySetting::Kind::kEnvironment ? "env:"
                                                         : "";
    text += key.where;
  }
  return text;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string input(reinterpret_cast<const char*>(data), size);
  if (const auto keys = ParseKeyList(input); keys.ok()) {
    const std::string text = Write(*keys);
    Require(keys->size() <= kSealingKeysMax && Write(*ParseKeyList(text)) == text);
  }
  if (const auto key = DecodeSealingKey(input); key.ok()) {
    Require(key->Reveal().size() == kSealingKeyBytes);
  }
  static Sealer* const ring = [] {
    std::vector<Sealer::Key> keys;
    keys.push_back({"k1", *MakeMemoryKey(SecretText(std::string(kSealingKeyBytes, 'k')))});
    return new Sealer(std::move(keys));
  }();
  sluice::v1::SealedSecret sealed;
  if (sealed.ParseFromString(input)) {
    Require(!ring->Open({"acme", "crm", sealed.name()}, sealed).ok());
  }
  return 0;
}
