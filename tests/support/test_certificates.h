#pragma once

#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <string>
#include <utility>
#include <vector>

namespace sluice::testing {

// An authority and a server certificate for `name`, made on the spot.
class TestCertificates {
 public:
  explicit TestCertificates(const std::string& alt_name)
      : authority_key_(EVP_EC_gen("P-256")), server_key_(EVP_EC_gen("P-256")) {
    authority_ = Certificate("test authority", authority_key_, nullptr,
                             {{NID_basic_constraints, "critical,CA:TRUE"}});
    server_ =
        Certificate("test server", server_key_, authority_, {{NID_subject_alt_name, alt_name}});
  }
  TestCertificates(const TestCertificates&) = delete;
  TestCertificates& operator=(const TestCertificates&) = delete;
  ~TestCertificates() {
    X509_free(authority_);
    X509_free(server_);
    EVP_PKEY_free(authority_key_);
    EVP_PKEY_free(server_key_);
  }

  X509* server() const { return server_; }
  EVP_PKEY* server_key() const { return server_key_; }

  void WriteAuthority(const std::string& path) const {
    BIO* bio = BIO_new_file(path.c_str(), "w");
    ASSERT_EQ(PEM_write_bio_X509(bio, authority_), 1);
    BIO_free(bio);
  }

 private:
  X509* Certificate(const char* name, EVP_PKEY* key, X509* issuer,
                    const std::vector<std::pair<int, std::string>>& extensions) {
    X509* certificate = X509_new();
    X509_set_version(certificate, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), ++serial_);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
    X509_set_pubkey(certificate, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC,
                               reinterpret_cast<const unsigned char*>(name), -1, -1, 0);
    X509_set_issuer_name(certificate,
                         X509_get_subject_name(issuer == nullptr ? certificate : issuer));
    for (const auto& [nid, value] : extensions) {
      X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, nullptr, nid, value.c_str());
      X509_add_ext(certificate, extension, -1);
      X509_EXTENSION_free(extension);
    }
    X509_sign(certificate, authority_key_, EVP_sha256());
    return certificate;
  }

  long serial_ = 0;
  EVP_PKEY* authority_key_;
  EVP_PKEY* server_key_;
  X509* authority_ = nullptr;
  X509* server_ = nullptr;
};

}  // namespace sluice::testing
