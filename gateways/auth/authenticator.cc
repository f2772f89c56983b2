#include "gateways/auth/authenticator.h"

#include <fmt/format.h>
#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "gateways/auth/auth_metrics.h"
#include "gateways/auth/dev_key.h"
#include "gateways/auth/key_source.h"
#include "gateways/auth/token.h"
#include "gateways/auth/token_cache.h"
#include "schemas/base/status.h"

namespace sluice::gateways {

namespace {

struct ScopeRow {
  Scope scope;
  std::string_view name;
};
constexpr ScopeRow kScopes[] = {{Scope::kAdmin, "sluice.admin"},
                                {Scope::kIngest, "sluice.ingest"},
                                {Scope::kAudit, "sluice.audit"},
                                {Scope::kSync, "sluice.sync"},
                                {Scope::kMetrics, "sluice.metrics"}};

}  // namespace

std::string_view ScopeName(Scope scope) {
  return std::ranges::find(kScopes, scope, &ScopeRow::scope)->name;
}

std::optional<Scope> ParseScope(std::string_view name) {
  const auto* const row = std::ranges::find(kScopes, name, &ScopeRow::name);
  return row == std::end(kScopes) ? std::nullopt : std::optional(row->scope);
}

absl::Status RequireScope(const Principal& principal, Scope scope) {
  if (principal.Has(scope)) {
    return absl::OkStatus();
  }
  return absl::PermissionDeniedError(fmt::format("the token lacks the scope {}", ScopeName(scope)));
}

absl::Status RequireOrg(const Principal& principal, std::string_view org) {
  if (!principal.org.empty() && principal.org == org) {
    return absl::OkStatus();
  }
  return absl::PermissionDeniedError(fmt::format("the token is not for the organisation {}", org));
}

absl::Status RequireOrgIfBound(const Principal& principal, std::string_view org) {
  return principal.org.empty() ? absl::OkStatus() : RequireOrg(principal, org);
}

absl::Status RequireUnexpired(const Principal& principal, SystemTime now) {
  if (now < principal.good_until) {
    return absl::OkStatus();
  }
  return Error(
      absl::StatusCode::kUnauthenticated, "token_expired",
      "the token has expired while its request was under way: what was not answered before "
      "was not taken, send it with a new one");
}

namespace {

using PrincipalOr = absl::StatusOr<std::shared_ptr<const Principal>>;

absl::Status NoKeys() {
  return absl::UnavailableError("the keys that tokens are checked with could not be loaded yet");
}

}  // namespace

absl::Status KeysUnavailable() {
  return Error(
      absl::StatusCode::kUnavailable, "keys_unavailable",
      "the key that the token names is not known, and newer keys can't be had at the moment: "
      "try again later");
}

namespace {

class JwtAuthenticator final : public Authenticator {
 public:
  JwtAuthenticator(const AuthOptions& options, std::shared_ptr<AuthMetrics> metrics,
                   std::unique_ptr<KeySource> source)
      : rules_{options.issuer, options.audience, options.leeway},
        clock_(options.clock),
        metrics_(std::move(metrics)),
        source_(std::move(source)),
        cache_(options.cached_tokens_max, options.cached_bytes_max) {
    metrics_->cache_limit.Set(static_cast<double>(options.cached_tokens_max));
  }

  PrincipalOr Authenticate(std::string_view authorization_header) override {
    return *Check(authorization_header, /*may_block=*/true);
  }

  std::optional<PrincipalOr> TryAuthenticate(std::string_view authorization_header) override {
    return Check(authorization_header, /*may_block=*/false);
  }

  void FetchKeys() override { source_->FetchSoon(); }

  uint64_t KeyFetches() const override { return source_->Fetches(); }

  absl::Status Ready() const override {
    return source_->Current()->keys.size() > 0 ? absl::OkStatus() : NoKeys();
  }

 private:
  // nullopt only without `may_block`.
  std::optional<PrincipalOr> Check(std::string_view header, bool may_block) {
    const absl::StatusOr<std::string_view> token = BearerToken(header);
    if (!token.ok()) {
      return Counted(token.status());
    }
    // The keys before the cache, which is asked with their number: a token whose key has left the
    // set is still in it, under the number of before.
    source_->Poll();
    const SystemTime now = clock_->Now();
    const TokenDigest digest = Sha256(*token);
    if (auto principal = cache_.Find(digest, source_->Current()->number, now)) {
      metrics_->cached.Increment();
      return principal;
    }
    std::optional<PrincipalOr> result = CheckAnew(*token, digest, now, may_block);
    if (!result) {
      return std::nullopt;
    }
    return result->ok() ? *std::move(result) : Counted(result->status());
  }

  std::optional<PrincipalOr> CheckAnew(std::string_view token, const TokenDigest& digest,
                                       SystemTime now, bool may_block) {
    const absl::StatusOr<UnverifiedToken> parsed = ParseToken(token);
    if (!parsed.ok()) {
      return parsed.status();
    }
    auto keys = source_->Current();
    absl::Status verified = Verify(*parsed, token, keys->keys);
    if (!verified.ok() && MayBeNewKey(*parsed, keys->keys)) {
      const KeySource::Refresh refresh = source_->RefreshForUnknownKey(may_block);
      if (refresh == KeySource::Refresh::kWouldBlock) {
        return std::nullopt;
      }
      if (auto newer = source_->Current(); newer->number != keys->number) {
        keys = std::move(newer);
        verified = Verify(*parsed, token, keys->keys);
      }
      // Who is told that its token is bad signs out; what cannot be told is not said.
      if (refresh == KeySource::Refresh::kStale && absl::IsUnauthenticated(verified) &&
          MayBeNewKey(*parsed, keys->keys)) {
        return KeysUnavailable();
      }
    }
    if (!verified.ok()) {
      return verified;
    }
    // Claims are read only of what a key has signed: an answer must not tell a stranger what its
    // own text says of times, issuer or audience.
    absl::StatusOr<Principal> claims = ParseClaims(parsed->payload, rules_, now);
    if (!claims.ok()) {
      return claims.status();
    }
    metrics_->verified.Increment();
    auto principal = std::make_shared<const Principal>(*std::move(claims));
    Remember(digest, keys->number, principal);
    return principal;
  }

  static absl::Status Verify(const UnverifiedToken& parsed, std::string_view token,
                             const KeySet& keys) {
    if (keys.size() == 0) {
      return NoKeys();
    }
    const KeySet::Key* key = keys.Find(parsed.alg, parsed.kid);
    if (key == nullptr) {
      return TokenInvalid(
          parsed.kid && keys.Knows(*parsed.kid) ? "its algorithm does not fit the key that it names"
          : parsed.kid                          ? "the key that it names (\"kid\") is not known"
                       : "it names no key (\"kid\"), and not exactly one would fit");
    }
    return key->key.Verify(parsed.alg, token) ? absl::OkStatus()
                                              : TokenInvalid("its signature is wrong");
  }

  // Whether a key that was not there at the last load could be the right one. A key is never
  // replaced under its `kid`, so that wrong signatures do not lead to fetches.
  static bool MayBeNewKey(const UnverifiedToken& parsed, const KeySet& keys) {
    return !parsed.kid || !keys.Knows(*parsed.kid);
  }

  void Remember(const TokenDigest& digest, uint64_t generation,
                const std::shared_ptr<const Principal>& principal) {
    const size_t evicted = cache_.Put(digest, generation, principal, principal->good_until);
    metrics_->evicted.Increment(static_cast<double>(evicted));
    const TokenCache::Size size = cache_.size();
    metrics_->cache_entries.Set(static_cast<double>(size.entries));
    metrics_->cache_bytes.Set(static_cast<double>(size.bytes));
  }

  absl::Status Counted(absl::Status status) {
    const std::string code = ErrorCode(status);
    (code == "token_missing"   ? metrics_->missing
     : code == "token_expired" ? metrics_->expired
     : code == "token_invalid" ? metrics_->invalid
                               : metrics_->unavailable)
        .Increment();
    return status;
  }

  const ClaimRules rules_;
  const std::shared_ptr<const Clock> clock_;
  const std::shared_ptr<AuthMetrics> metrics_;
  const std::unique_ptr<KeySource> source_;
  TokenCache cache_;
};

absl::StatusOr<std::unique_ptr<KeySource>> NewKeySource(const AuthOptions& options,
                                                        std::shared_ptr<AuthMetrics> metrics) {
  if (options.jwks.empty()) {
    ASSIGN_OR_RETURN(const std::string private_jwk, LoadOrCreateDevKey(options.data_dir));
    ASSIGN_OR_RETURN(const std::string jwks, PublicJwks(private_jwk));
    spdlog::warn("auth.dev_key_in_use path={}/{} hint=\"no JWKS is configured\"", options.data_dir,
                 kDevKeyFile);
    return NewFixedKeySource(jwks, std::move(metrics));
  }
  if (options.jwks.find("://") != std::string::npos) {
    return NewUrlKeySource(options, std::move(metrics));
  }
  return NewFileKeySource(options, std::move(metrics));
}

}  // namespace

bool Authenticator::BeginKeyWait(size_t waiting_max) {
  if (key_waits_.fetch_add(1) < waiting_max) {
    return true;
  }
  key_waits_.fetch_sub(1);
  return false;
}

absl::StatusOr<std::unique_ptr<Authenticator>> Authenticator::Create(AuthOptions options) {
  if (options.clock == nullptr) {
    options.clock = std::make_shared<RealClock>();
  }
  auto metrics = std::make_shared<AuthMetrics>(options.registry);
  ASSIGN_OR_RETURN(std::unique_ptr<KeySource> source, NewKeySource(options, metrics));
  return std::make_unique<JwtAuthenticator>(options, std::move(metrics), std::move(source));
}

}  // namespace sluice::gateways
