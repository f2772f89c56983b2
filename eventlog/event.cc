#include "eventlog/event.h"

#include <bit>
#include <cstdint>

#include "schemas/base/sha256.h"

namespace sluice::eventlog {
namespace {

template <typename Integer>
void PutLittleEndian(Integer value, std::string& out) {
  static_assert(std::endian::native == std::endian::little);
  out.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

}  // namespace

uint64_t EventHash(const Event& event) {
  constexpr size_t kCopied = 2'048;  // a hash of two parts costs more than a copy of so much
  thread_local std::string bytes;    // kept for its memory
  bytes.clear();
  for (const std::string* part :
       {&event.id, &event.source, &event.type, &event.subject, &event.traceparent, &event.key,
        &event.cause.subject, &event.cause.issuer, &event.cause.request_id}) {
    PutLittleEndian(static_cast<uint32_t>(part->size()), bytes);
    bytes.append(*part);
  }
  PutLittleEndian(static_cast<uint64_t>(event.time.time_since_epoch().count()), bytes);
  PutLittleEndian(static_cast<uint64_t>(event.answers.value()), bytes);
  PutLittleEndian(static_cast<uint32_t>(event.value.size()), bytes);
  if (event.value.size() > kCopied) {
    return DigestWord(Sha256(bytes, event.value), 0);
  }
  bytes.append(event.value);
  return DigestWord(Sha256(bytes), 0);
}

}  // namespace sluice::eventlog
