// What a request pays for its token: found again, and checked anew with each algorithm.
#include <benchmark/benchmark.h>
#include <spdlog/spdlog.h>

#include <cstdlib>

#include "gateways/auth/authenticator.h"
#include "schemas/base/files.h"
#include "tests/support/fake_clock.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/gateways/auth/test_keys.h"

namespace sluice::gateways {
namespace {

using testing::TestKey;

void Run(benchmark::State& state, const TestKey& key, const char* alg, size_t cached_tokens_max) {
  spdlog::set_level(spdlog::level::warn);
  const testing::TempDir dir;
  AuthOptions options;
  options.jwks = dir / "jwks.json";
  options.cached_tokens_max = cached_tokens_max;
  const std::string header =
      "Bearer " + key.Token(alg, {{"sub", "7d9f2a52-3a43-4c7b-9d5f-1f1f6f1b7c11"},
                                  {"iss", "https://idp.example/realms/main"},
                                  {"aud", "sluice"},
                                  {"org", "contoso"},
                                  {"scope", "openid sluice.sync"},
                                  {"roles", {"field-sales", "service"}},
                                  {"teams", {"t1", "t2", "t3", "t4"}},
                                  {"businessunit", "west"},
                                  {"exp", 4'000'000'000}});
  if (!WriteFileAtomically(options.jwks, testing::Jwks({key.Jwk()}), 0644, IfExists::kReplace)
           .ok()) {
    std::abort();
  }
  auto authenticator = Authenticator::Create(options);
  for (auto _ : state) {
    if (!(*authenticator)->Authenticate(header).ok()) {
      state.SkipWithError("refused");
    }
  }
  state.counters["token_bytes"] = static_cast<double>(header.size() - 7);
}

void BM_Cached(benchmark::State& state) { Run(state, TestKey::Rsa("k"), "RS256", 100); }
void BM_Rs256(benchmark::State& state) { Run(state, TestKey::Rsa("k"), "RS256", 0); }
void BM_Ps256(benchmark::State& state) { Run(state, TestKey::Rsa("k"), "PS256", 0); }
void BM_Es256(benchmark::State& state) { Run(state, TestKey::P256("k"), "ES256", 0); }
void BM_EdDsa(benchmark::State& state) { Run(state, TestKey::Ed25519("k"), "EdDSA", 0); }

BENCHMARK(BM_Cached)->Unit(benchmark::kMicrosecond);
BENCHMARK(BM_Rs256)->Unit(benchmark::kMicrosecond);
BENCHMARK(BM_Ps256)->Unit(benchmark::kMicrosecond);
BENCHMARK(BM_Es256)->Unit(benchmark::kMicrosecond);
BENCHMARK(BM_EdDsa)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace sluice::gateways

BENCHMARK_MAIN();
