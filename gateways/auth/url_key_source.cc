#include <spdlog/spdlog.h>

#include <atomic>
#include <thread>
#include <utility>

#include "absl/time/time.h"
#include "gateways/auth/jwks_fetcher.h"
#include "gateways/auth/key_source.h"
#include "schemas/base/backoff.h"
#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

constexpr std::chrono::milliseconds kBackoffMax{60'000};

class UrlKeySource final : public KeySource {
 public:
  UrlKeySource(const AuthOptions& options, std::unique_ptr<JwksFetcher> fetcher,
               std::shared_ptr<AuthMetrics> metrics)
      : KeySource(std::move(metrics), options.jwks.substr(0, options.jwks.find('?'))),
        clock_(options.clock),
        interval_(options.refresh_interval),
        age_max_(options.keys_age_max),
        wait_max_(options.fetch_timeout + std::chrono::seconds(1)),
        fetcher_(std::move(fetcher)),
        backoff_(interval_ * 2, kBackoffMax, Backoff::Jitter::kNone) {}

  ~UrlKeySource() override {
    {
      absl::MutexLock lock(&fetch_mutex_);
      stopping_ = true;
    }
    // Before the thread is waited for: a fetch that is about to begin finds itself stopped, and one
    // under way is ended, so that nobody waits for a provider that hangs.
    fetcher_->Stop();
    if (thread_.joinable()) {
      thread_.join();
    }
  }

  void Start() {
    FetchOnce();
    thread_ = std::thread([this] { Run(); });
  }

  Refresh RefreshForUnknownKey(bool may_block) override ABSL_LOCKS_EXCLUDED(fetch_mutex_) {
    absl::MutexLock lock(&fetch_mutex_);
    const bool under_way = wanted_ || fetching_;
    if (!under_way && clock_->SteadyNow() < fetch_allowed_) {
      return Loaded();
    }
    if (!may_block) {
      return Refresh::kWouldBlock;
    }
    wanted_ = wanted_ || !fetching_;
    const uint64_t before = fetches_;
    const auto fetched = [this, before]() ABSL_SHARED_LOCKS_REQUIRED(fetch_mutex_) {
      return fetches_ != before || stopping_;
    };
    fetch_mutex_.AwaitWithTimeout(absl::Condition(&fetched), absl::FromChrono(wait_max_));
    return fetches_ != before ? Loaded() : Refresh::kStale;
  }

  void FetchSoon() override ABSL_LOCKS_EXCLUDED(fetch_mutex_) {
    absl::MutexLock lock(&fetch_mutex_);
    wanted_ = wanted_ || (!fetching_ && clock_->SteadyNow() >= fetch_allowed_);
  }

  uint64_t Fetches() const override { return fetches_seen_.load(); }

 private:
  // Fetches when somebody asks, and when the keys have become old.
  void Run() ABSL_LOCKS_EXCLUDED(fetch_mutex_) {
    const auto asked = [this]() ABSL_SHARED_LOCKS_REQUIRED(fetch_mutex_) {
      return wanted_ || stopping_;
    };
    while (true) {
      {
        absl::MutexLock lock(&fetch_mutex_);
        fetch_mutex_.AwaitWithTimeout(absl::Condition(&asked), absl::FromChrono(pause_));
        if (stopping_) {
          return;
        }
        wanted_ = false;
        fetching_ = true;
      }
      FetchOnce();
    }
  }

  void FetchOnce() ABSL_LOCKS_EXCLUDED(fetch_mutex_) {
    const bool loaded = Install(fetcher_->Get()).ok();
    absl::MutexLock lock(&fetch_mutex_);
    // The thread comes back by itself: for old keys, and after a failure.
    if (loaded) {
      backoff_.Reset();
    }
    const std::chrono::milliseconds wait = loaded ? interval_ : backoff_.Next();
    pause_ = loaded ? age_max_ : wait;
    fetch_allowed_ = clock_->SteadyNow() + wait;
    fetching_ = false;
    ++fetches_;
    fetches_seen_ = fetches_;  // last, so that who sees it finds what the fetch has brought
  }

  const std::shared_ptr<const Clock> clock_;
  const std::chrono::milliseconds interval_;
  const std::chrono::milliseconds age_max_;
  const std::chrono::milliseconds wait_max_;
  const std::unique_ptr<JwksFetcher> fetcher_;
  absl::Mutex fetch_mutex_;
  bool wanted_ ABSL_GUARDED_BY(fetch_mutex_) = false;
  bool fetching_ ABSL_GUARDED_BY(fetch_mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(fetch_mutex_) = false;
  uint64_t fetches_ ABSL_GUARDED_BY(fetch_mutex_) = 0;  // ended ones, failed ones too
  std::atomic<uint64_t> fetches_seen_{0};               // the same, for those who only look
  Backoff backoff_ ABSL_GUARDED_BY(fetch_mutex_);
  std::chrono::milliseconds pause_ ABSL_GUARDED_BY(fetch_mutex_){0};
  SteadyTime fetch_allowed_ ABSL_GUARDED_BY(fetch_mutex_);
  std::thread thread_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<KeySource>> NewUrlKeySource(const AuthOptions& options,
                                                           std::shared_ptr<AuthMetrics> metrics) {
  ASSIGN_OR_RETURN(std::unique_ptr<JwksFetcher> fetcher,
                   JwksFetcher::Create(options.jwks, options.jwks_ca_file, options.fetch_timeout));
  if (options.jwks.starts_with("http://")) {
    spdlog::warn(
        "auth.keys_unprotected source={} hint=\"whoever is on the way can make keys; "
        "use https unless it is this machine\"",
        options.jwks);
  }
  auto source = std::make_unique<UrlKeySource>(options, std::move(fetcher), std::move(metrics));
  source->Start();
  return std::unique_ptr<KeySource>(std::move(source));
}

}  // namespace sluice::gateways
