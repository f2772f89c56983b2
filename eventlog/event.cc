#include "eventlog/event.h"

#include <array>
#include <string>

#include "schemas/sha256.h"

namespace sluice::eventlog {
namespace {

void PutLittleEndian(uint64_t value, size_t bytes, std::string& out) {
  std::array<char, 8> encoded{};
  for (size_t i = 0; i < bytes; ++i) {
    encoded.at(i) = static_cast<char>(value >> (8 * i));
  }
  out.append(encoded.data(), bytes);
}

}  // namespace

uint64_t EventHash(const Event& event) {
  constexpr size_t kCopied = 2'048;  // a hash of two parts costs more than a copy of so much
  thread_local std::string bytes;    // kept for its memory
  bytes.clear();
  for (const std::string* part :
       {&event.id, &event.source, &event.type, &event.subject, &event.traceparent, &event.key,
        &event.cause.subject, &event.cause.issuer, &event.cause.request_id}) {
    PutLittleEndian(part->size(), 4, bytes);
    bytes.append(*part);
  }
  PutLittleEndian(static_cast<uint64_t>(event.time.time_since_epoch().count()), 8, bytes);
  PutLittleEndian(static_cast<uint64_t>(event.answers.value()), 8, bytes);
  PutLittleEndian(event.value.size(), 4, bytes);
  if (event.value.size() > kCopied) {
    return DigestWord(Sha256(bytes, event.value), 0);
  }
  bytes.append(event.value);
  return DigestWord(Sha256(bytes), 0);
}

}  // namespace sluice::eventlog
