#pragma once

#include <memory>
#include <string>

#include "gateways/secrets/sealing_key.h"

namespace sluice::gateways {

struct Pkcs11Settings {
  std::string module;    // path of the PKCS#11 library, such as /usr/lib/softhsm/libsofthsm2.so
  std::string uri;       // RFC 7512: "pkcs11:token=sluice;object=kek"
  std::string pin_file;  // file of mode 0600 with the user's PIN, a line break behind it allowed
};

// An AES key of 256 bits within a token (PKCS #11 2.40, mechanism CKM_AES_GCM): what is sealed goes
// there, the key never leaves it. `uri` must name one token and one secret key in it; it holds no
// PIN and no module. Opens a session and logs in at once, and again by itself where the token was
// away: then calls are kUnavailable, code "sealing_key_unavailable", until it is back. A refused
// PIN is not tried again while the process runs, as tokens lock themselves. kInvalidArgument for
// settings that cannot be right, kNotFound where the token or key is not there.
[[nodiscard]] absl::StatusOr<std::unique_ptr<SealingKey>> OpenPkcs11Key(
    const Pkcs11Settings& settings);

}  // namespace sluice::gateways
