#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "gateways/auth/auth_metrics.h"
#include "gateways/auth/authenticator.h"
#include "gateways/auth/key_set.h"

namespace sluice::gateways {

// Keys with a number that changes whenever they do, so that what was concluded from older ones can
// be told apart.
struct KeyGeneration {
  KeySet keys;
  uint64_t number = 0;
};

// Where the keys come from. Implementations: fixed text, a file, a URL. Thread-safe.
class KeySource {
 public:
  virtual ~KeySource() = default;

  // Never nullptr; empty while nothing could be loaded.
  std::shared_ptr<const KeyGeneration> Current() const ABSL_LOCKS_EXCLUDED(mutex_);

  // Called before every check; notices changed keys when that is cheap and due.
  virtual void Poll() {}

  enum class Refresh {
    kCurrent,     // Current() is what the source has, as far as its limit of rate lets one know
    kStale,       // the newest load failed, or has not ended: the source may have other keys
    kWouldBlock,  // nothing was done; only without `may_block`
  };
  // A token named a key that is not known: loads again, as far as the source's limit of rate
  // allows. Afterwards Current() may be newer, also when another thread loaded it. Without
  // `may_block`, a source does not wait for the network.
  virtual Refresh RefreshForUnknownKey(bool may_block) = 0;

  // Has a source that would wait for the network load again, on a thread of its own, as far as its
  // limit of rate allows. Returns at once.
  virtual void FetchSoon() {}

  // How often such a load has ended, well or not; 0 for a source that is never waited for.
  virtual uint64_t Fetches() const { return 0; }

 protected:
  KeySource(std::shared_ptr<AuthMetrics> metrics, std::string name);

  // Takes over `jwks` when it is a usable set (at least one key) that differs from the current one.
  // On an error the old keys stay. Logs and counts every outcome.
  absl::Status Install(absl::StatusOr<std::string> jwks) ABSL_LOCKS_EXCLUDED(mutex_);
  // How the last Install() ended: kCurrent or kStale.
  Refresh Loaded() const { return last_failed_.load() ? Refresh::kStale : Refresh::kCurrent; }

  const std::string& name() const { return name_; }

 private:
  absl::Status InstallText(const std::string& jwks) ABSL_LOCKS_EXCLUDED(mutex_);

  const std::shared_ptr<AuthMetrics> metrics_;
  const std::string name_;  // path or URL, for messages
  std::atomic<bool> last_failed_{false};
  mutable absl::Mutex mutex_;
  std::shared_ptr<const KeyGeneration> current_ ABSL_GUARDED_BY(mutex_);
  std::string text_ ABSL_GUARDED_BY(mutex_);  // what current_ was read from
};

// Fixed keys, those of the development key.
[[nodiscard]] absl::StatusOr<std::unique_ptr<KeySource>> NewFixedKeySource(
    const std::string& jwks, std::shared_ptr<AuthMetrics> metrics);

// A JWKS file, read again when its inode, size or modification time changed. Looks at those on
// every unknown key, and otherwise at most every `refresh_interval`. The first read must succeed.
[[nodiscard]] absl::StatusOr<std::unique_ptr<KeySource>> NewFileKeySource(
    const AuthOptions& options, std::shared_ptr<AuthMetrics> metrics);

// A JWKS URL, fetched by a thread of its own: when an unknown key is named (at most once per
// `refresh_interval`, after failures in doubling steps up to a minute), and when the keys are older
// than `keys_age_max`. The first fetch is waited for, but may fail.
[[nodiscard]] absl::StatusOr<std::unique_ptr<KeySource>> NewUrlKeySource(
    const AuthOptions& options, std::shared_ptr<AuthMetrics> metrics);

}  // namespace sluice::gateways
