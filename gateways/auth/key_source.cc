#include "gateways/auth/key_source.h"

#include <fmt/format.h>
#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <utility>

#include "schemas/base/files.h"
#include "schemas/base/status.h"

namespace sluice::gateways {

KeySource::KeySource(std::shared_ptr<AuthMetrics> metrics, std::string name)
    : metrics_(std::move(metrics)),
      name_(std::move(name)),
      current_(std::make_shared<KeyGeneration>()) {}

std::shared_ptr<const KeyGeneration> KeySource::Current() const {
  absl::ReaderMutexLock lock(&mutex_);
  return current_;
}

absl::Status KeySource::Install(absl::StatusOr<std::string> jwks) {
  absl::Status status = jwks.ok() ? InstallText(*jwks) : std::move(jwks).status();
  last_failed_ = !status.ok();
  if (!status.ok()) {
    metrics_->keys_failed.Increment();
    spdlog::warn("auth.keys_failed source={} error=\"{}\"", name_, Message(status));
  }
  return status;
}

absl::Status KeySource::InstallText(const std::string& jwks) {
  {
    absl::ReaderMutexLock lock(&mutex_);
    if (current_->number != 0 && text_ == jwks) {
      metrics_->keys_unchanged.Increment();
      return absl::OkStatus();
    }
  }
  absl::StatusOr<KeySet> keys = KeySet::Parse(jwks);
  RETURN_IF_ERROR_CTX(keys.status(), name_);
  if (keys->size() == 0) {
    return absl::InvalidArgumentError(fmt::format(
        "{}: no usable key (RSA from 2048 bits, P-256 or Ed25519, for signatures)", name_));
  }
  spdlog::info("auth.keys_loaded source={} keys={} passed_over={}", name_, keys->size(),
               keys->passed_over());
  metrics_->keys_loaded.Increment();
  metrics_->keys.Set(static_cast<double>(keys->size()));
  auto next = std::make_shared<KeyGeneration>();
  next->keys = *std::move(keys);
  absl::MutexLock lock(&mutex_);
  next->number = current_->number + 1;
  current_ = std::move(next);
  text_ = jwks;
  return absl::OkStatus();
}

namespace {

class FixedKeySource final : public KeySource {
 public:
  explicit FixedKeySource(std::shared_ptr<AuthMetrics> metrics)
      : KeySource(std::move(metrics), "development-key") {}

  absl::Status Load(const std::string& jwks) { return Install(jwks); }
  Refresh RefreshForUnknownKey(bool) override { return Refresh::kCurrent; }
};

// What tells one version of a file from the next.
struct Stamp {
  ino_t inode = 0;
  off_t size = -1;
  int64_t modified_s = 0;
  int64_t modified_ns = 0;
  bool operator==(const Stamp&) const = default;
};

class FileKeySource final : public KeySource {
 public:
  FileKeySource(const AuthOptions& options, std::shared_ptr<AuthMetrics> metrics)
      : KeySource(std::move(metrics), options.jwks),
        clock_(options.clock),
        interval_(options.refresh_interval) {}

  absl::Status LoadFirst() ABSL_LOCKS_EXCLUDED(load_mutex_) {
    absl::MutexLock lock(&load_mutex_);
    stamp_ = Look();
    looked_ = clock_->SteadyNow();
    return Install(ReadSmallFile(name(), kJwksBytesMax));
  }

  void Poll() override ABSL_LOCKS_EXCLUDED(load_mutex_) {
    const SteadyTime now = clock_->SteadyNow();
    // One thread looks; the others go on with the keys there are.
    if (!load_mutex_.TryLock()) {
      return;
    }
    if (now - looked_ >= interval_) {
      LoadIfChanged(now);
    }
    load_mutex_.Unlock();
  }

  Refresh RefreshForUnknownKey(bool) override ABSL_LOCKS_EXCLUDED(load_mutex_) {
    absl::MutexLock lock(&load_mutex_);
    LoadIfChanged(clock_->SteadyNow());
    return Loaded();
  }

 private:
  Stamp Look() const {
    struct stat info {};
    if (::stat(name().c_str(), &info) != 0) {
      return {};
    }
    return {info.st_ino, info.st_size, info.st_mtim.tv_sec, info.st_mtim.tv_nsec};
  }

  void LoadIfChanged(SteadyTime now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(load_mutex_) {
    looked_ = now;
    // Looked at before reading, so that a change while reading is seen next time.
    const Stamp stamp = Look();
    if (stamp == stamp_) {
      return;
    }
    stamp_ = stamp;
    Install(ReadSmallFile(name(), kJwksBytesMax)).IgnoreError();  // logged; the old keys stay
  }

  const std::shared_ptr<const Clock> clock_;
  const std::chrono::milliseconds interval_;
  absl::Mutex load_mutex_;
  Stamp stamp_ ABSL_GUARDED_BY(load_mutex_);
  SteadyTime looked_ ABSL_GUARDED_BY(load_mutex_);
};

}  // namespace

absl::StatusOr<std::unique_ptr<KeySource>> NewFixedKeySource(const std::string& jwks,
                                                             std::shared_ptr<AuthMetrics> metrics) {
  auto source = std::make_unique<FixedKeySource>(std::move(metrics));
  RETURN_IF_ERROR(source->Load(jwks));
  return std::unique_ptr<KeySource>(std::move(source));
}

absl::StatusOr<std::unique_ptr<KeySource>> NewFileKeySource(const AuthOptions& options,
                                                            std::shared_ptr<AuthMetrics> metrics) {
  auto source = std::make_unique<FileKeySource>(options, std::move(metrics));
  RETURN_IF_ERROR(source->LoadFirst());
  return std::unique_ptr<KeySource>(std::move(source));
}

}  // namespace sluice::gateways
