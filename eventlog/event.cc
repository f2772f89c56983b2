#include "eventlog/event.h"

#include <openssl/evp.h>

#include <array>
#include <cstdlib>
#include <memory>
#include <string_view>

namespace sluice::eventlog {
namespace {

struct DigestDeleter {
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
  void operator()(EVP_MD* algorithm) const { EVP_MD_free(algorithm); }
};

// Looking the algorithm up costs more than hashing an event does: once a thread.
struct Sha256 {
  std::unique_ptr<EVP_MD, DigestDeleter> algorithm{EVP_MD_fetch(nullptr, "SHA256", nullptr)};
  std::unique_ptr<EVP_MD_CTX, DigestDeleter> context{EVP_MD_CTX_new()};
  std::string attributes;  // kept for its memory
};

void PutLittleEndian(uint64_t value, int bytes, std::string& out) {
  for (int shift = 0; shift < bytes * 8; shift += 8) {
    out.push_back(static_cast<char>(value >> shift));
  }
}

}  // namespace

uint64_t EventHash(const Event& event) {
  thread_local Sha256 sha;
  std::string& attributes = sha.attributes;
  attributes.clear();
  for (const std::string* part :
       {&event.id, &event.source, &event.type, &event.subject, &event.traceparent, &event.key,
        &event.cause.subject, &event.cause.issuer, &event.cause.request_id}) {
    PutLittleEndian(part->size(), 4, attributes);
    attributes.append(*part);
  }
  PutLittleEndian(static_cast<uint64_t>(event.time.time_since_epoch().count()), 8, attributes);
  PutLittleEndian(static_cast<uint64_t>(event.answers.value()), 8, attributes);
  PutLittleEndian(event.value.size(), 4, attributes);
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  if (EVP_DigestInit_ex2(sha.context.get(), sha.algorithm.get(), nullptr) != 1 ||
      EVP_DigestUpdate(sha.context.get(), attributes.data(), attributes.size()) != 1 ||
      EVP_DigestUpdate(sha.context.get(), event.value.data(), event.value.size()) != 1 ||
      EVP_DigestFinal_ex(sha.context.get(), digest.data(), nullptr) != 1) {
    std::abort();  // without SHA-256, or without memory for it, nothing here can be trusted
  }
  uint64_t hash = 0;
  for (size_t i = 0; i < 8; ++i) {
    hash = hash << 8 | digest.at(i);
  }
  return hash;
}

}  // namespace sluice::eventlog
