#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "schemas/base/clock.h"

namespace prometheus {
class Registry;
}  // namespace prometheus

// Who calls: bearer tokens (JWT, RFC 7519) checked against the configured keys.
// gateways/docs/auth.md has the claims, the keys and the limits.
namespace sluice::gateways {

// What a token may be used for; the claim `scope` names them "sluice.admin", "sluice.ingest", ...
enum class Scope : uint32_t { kAdmin = 1, kIngest = 2, kAudit = 4, kSync = 8, kMetrics = 16 };

// "sluice.admin", ...
std::string_view ScopeName(Scope scope);
std::optional<Scope> ParseScope(std::string_view name);

// The caller as its token describes it. A claim that the token lacks (or holds as null) is empty or
// nullopt here and matches nothing: an empty `org` is no organisation, an empty `subject` nobody.
struct Principal {
  std::string subject;                        // `sub`
  std::string issuer;                         // `iss`
  uint32_t scopes = 0;                        // a union of Scope; scopes of others are left out
  std::string org;                            // `org`
  std::vector<std::string> roles;             // `roles`; sorted, without duplicates
  std::vector<std::string> teams;             // `teams`; sorted, without duplicates
  std::optional<std::string> business_unit;   // `businessunit`
  SystemTime expires;                         // `exp`
  SystemTime good_until = SystemTime::max();  // `exp` and the leeway: requests are taken until then

  bool Has(Scope scope) const { return (scopes & static_cast<uint32_t>(scope)) != 0; }
};

// OK, or kPermissionDenied "forbidden" that names the scope.
[[nodiscard]] absl::Status RequireScope(const Principal& principal, Scope scope);

// OK when the token is for `org`, else kPermissionDenied "forbidden". A token without org fits
// none.
[[nodiscard]] absl::Status RequireOrg(const Principal& principal, std::string_view org);

// As RequireOrg for a token that has `org`; one without is good for every organisation (admin,
// ingest and audit scopes).
[[nodiscard]] absl::Status RequireOrgIfBound(const Principal& principal, std::string_view org);

// OK while requests with the token are taken, else kUnauthenticated "token_expired". For requests
// that take long: their token was good when they began.
[[nodiscard]] absl::Status RequireUnexpired(const Principal& principal, SystemTime now);

// kUnavailable "keys_unavailable": nobody can tell whether the token's key is a new one.
[[nodiscard]] absl::Status KeysUnavailable();

// Options of Authenticator::Create. Limits may change between starts.
struct AuthOptions {
  std::string jwks{};          // file path or http(s) URL of a JWK set; empty: the development key
  std::string jwks_ca_file{};  // PEM of the authorities for an https URL; empty: the system's
  std::string issuer{};        // when set, `iss` must be this
  std::string audience{};      // when set, `aud` must be or contain this
  std::string data_dir{};  // where the development key is kept; only needed when `jwks` is empty
  std::chrono::seconds leeway{5};  // for `exp` and `nbf`

  size_t cached_tokens_max = 10'000;                  // verified tokens kept; 0 keeps none
  size_t cached_bytes_max = size_t{32} << 20;         // bytes of their principals, roughly
  std::chrono::milliseconds fetch_timeout{3'000};     // for a JWKS URL, whole fetch
  std::chrono::milliseconds refresh_interval{5'000};  // least time between two fetches of the URL
  std::chrono::milliseconds keys_age_max{900'000};    // older keys are fetched or re-read anyway

  std::shared_ptr<const Clock> clock{};              // nullptr: RealClock
  std::shared_ptr<prometheus::Registry> registry{};  // nullptr: no metrics
};

// Checks bearer tokens. Thread-safe.
class Authenticator {
 public:
  // Loads the keys. A JWKS file that is missing or holds no usable key is an error; a URL that does
  // not answer is not (identity providers restart too): Ready() tells, and requests get 503 until
  // it does. Without `jwks`, makes or reads the development key in `data_dir` and logs its path.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<Authenticator>> Create(AuthOptions options);

  virtual ~Authenticator() = default;

  // The caller behind an `Authorization` header's value ("Bearer <token>"). Errors are
  // kUnauthenticated with the code "token_missing", "token_invalid" or "token_expired", or
  // kUnavailable: while no key could be loaded, and "keys_unavailable" for an unknown key when the
  // newest load failed. No message repeats any of the token.
  // May block for `fetch_timeout` when the token names an unknown key and keys come from a URL.
  [[nodiscard]] virtual absl::StatusOr<std::shared_ptr<const Principal>> Authenticate(
      std::string_view authorization_header) = 0;

  // As Authenticate, but never waits for the network: nullopt means that keys have to be fetched
  // first, call Authenticate on a thread that may block. For event loops.
  [[nodiscard]] virtual std::optional<absl::StatusOr<std::shared_ptr<const Principal>>>
  TryAuthenticate(std::string_view authorization_header) = 0;

  // After TryAuthenticate() could not tell: has the keys fetched, without waiting for it; nothing
  // while that is under way, or was a moment ago.
  virtual void FetchKeys() {}

  // How often a fetch of the keys has ended, well or not: while this stays, TryAuthenticate() would
  // find what it found before. Cheap; 0 where keys are never waited for.
  [[nodiscard]] virtual uint64_t KeyFetches() const { return 0; }

  // A place among the requests that wait for keys, on all listeners together: false where
  // `waiting_max` wait already. EndKeyWait() gives it back.
  [[nodiscard]] bool BeginKeyWait(size_t waiting_max);
  void EndKeyWait() { key_waits_.fetch_sub(1); }

  // OK once there is a key to check with; for /readyz.
  [[nodiscard]] virtual absl::Status Ready() const = 0;

 private:
  std::atomic<size_t> key_waits_{0};
};

}  // namespace sluice::gateways
