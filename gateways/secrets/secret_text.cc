#include "gateways/secrets/secret_text.h"

#include <openssl/crypto.h>

#include <cstring>

namespace sluice::gateways {

SecretText::SecretText(std::string&& text) : bytes_(new char[text.size()], Wipe{text.size()}) {
  std::memcpy(bytes_.get(), text.data(), text.size());
  OPENSSL_cleanse(text.data(), text.size());
  text.clear();
}

std::string_view SecretText::Reveal() const {
  return bytes_ == nullptr ? std::string_view()
                           : std::string_view(bytes_.get(), bytes_.get_deleter().size);
}

void SecretText::Wipe::operator()(char* bytes) const {
  OPENSSL_cleanse(bytes, size);  // a memset() before a delete would be left out by the compiler
  delete[] bytes;
}

}  // namespace sluice::gateways
