#include "gateways/auth/key_source.h"

#include <fmt/format.h>
#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <spdlog/spdlog.h>

#include <utility>

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
    metrics_->keys_failed->Increment();
    spdlog::warn("auth.keys_failed source={} error=\"{}\"", name_, Message(status));
  }
  return status;
}

absl::Status KeySource::InstallText(const std::string& jwks) {
  {
    absl::ReaderMutexLock lock(&mutex_);
    if (current_->number != 0 && text_ == jwks) {
      metrics_->keys_unchanged->Increment();
      return absl::OkStatus();
    }
  }
  absl::StatusOr<KeySet> keys = KeySet::Parse(jwks);
  if (!keys.ok()) {
    return Annotate(keys.status(), name_);
  }
  if (keys->size() == 0) {
    return absl::InvalidArgumentError(fmt::format(
        "{}: no usable key (RSA from 2048 bits, P-256 or Ed25519, for signatures)", name_));
  }
  spdlog::info("auth.keys_loaded source={} keys={} passed_over={}", name_, keys->size(),
               keys->passed_over());
  metrics_->keys_loaded->Increment();
  metrics_->keys->Set(static_cast<double>(keys->size()));
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

}  // namespace

absl::StatusOr<std::unique_ptr<KeySource>> NewFixedKeySource(const std::string& jwks,
                                                             std::shared_ptr<AuthMetrics> metrics) {
  auto source = std::make_unique<FixedKeySource>(std::move(metrics));
  RETURN_IF_ERROR(source->Load(jwks));
  return std::unique_ptr<KeySource>(std::move(source));
}

}  // namespace sluice::gateways
