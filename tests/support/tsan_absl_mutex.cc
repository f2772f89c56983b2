// Linked into the tests of the tsan preset. The distribution's Abseil is not built with
// ThreadSanitizer, which therefore sees neither its locks nor the order that they make, and reports
// everything they guard. These definitions stand before Abseil's, tell the sanitizer, and call
// them.
#include <dlfcn.h>
#include <sanitizer/tsan_interface.h>

#include <cstdlib>
#include <string>

#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"

namespace {

#define SLUICE_TEXT_OF(x) #x
#define SLUICE_TEXT(x) SLUICE_TEXT_OF(x)

// Abseil's own definition of `rest`, a mangled name without its leading namespaces.
void* Real(const char* rest, const char* qualifiers = "") {
  const std::string inline_namespace = SLUICE_TEXT(ABSL_OPTION_INLINE_NAMESPACE_NAME);
  const std::string name = std::string("_ZN") + qualifiers + "4absl" +
                           std::to_string(inline_namespace.size()) + inline_namespace + rest;
  void* found = dlsym(RTLD_NEXT, name.c_str());
  if (found == nullptr) {
    std::abort();  // another Abseil: the sanitizer would report nonsense
  }
  return found;
}

using MutexFn = void (*)(absl::Mutex*);
using TryFn = bool (*)(absl::Mutex*);
using AwaitFn = void (*)(absl::Mutex*, const absl::Condition&);
using AwaitDeadlineFn = bool (*)(absl::Mutex*, const absl::Condition&, absl::Time);
using WaitFn = void (*)(absl::CondVar*, absl::Mutex*);
using WaitTimeoutFn = bool (*)(absl::CondVar*, absl::Mutex*, absl::Duration);
using WaitDeadlineFn = bool (*)(absl::CondVar*, absl::Mutex*, absl::Time);
using NotificationFn = void (*)(const absl::Notification*);

// What the sanitizer sees of a wait: the mutex is given away, and taken again at its end.
class Waiting {
 public:
  explicit Waiting(absl::Mutex* mu) : mu_(mu) {
    __tsan_mutex_pre_unlock(mu_, 0);
    __tsan_mutex_post_unlock(mu_, 0);
    __tsan_mutex_pre_lock(mu_, 0);
  }
  ~Waiting() { __tsan_mutex_post_lock(mu_, 0, 1); }

 private:
  absl::Mutex* mu_;
};

}  // namespace

namespace absl {
ABSL_NAMESPACE_BEGIN

void Mutex::Lock() {
  static const auto real = reinterpret_cast<MutexFn>(Real("5Mutex4LockEv"));
  __tsan_mutex_pre_lock(this, 0);
  real(this);
  __tsan_mutex_post_lock(this, 0, 1);
}

void Mutex::Unlock() {
  static const auto real = reinterpret_cast<MutexFn>(Real("5Mutex6UnlockEv"));
  __tsan_mutex_pre_unlock(this, 0);
  real(this);
  __tsan_mutex_post_unlock(this, 0);
}

bool Mutex::TryLock() {
  static const auto real = reinterpret_cast<TryFn>(Real("5Mutex7TryLockEv"));
  __tsan_mutex_pre_lock(this, __tsan_mutex_try_lock);
  const bool locked = real(this);
  __tsan_mutex_post_lock(this, __tsan_mutex_try_lock | (locked ? 0U : __tsan_mutex_try_lock_failed),
                         1);
  return locked;
}

void Mutex::ReaderLock() {
  static const auto real = reinterpret_cast<MutexFn>(Real("5Mutex10ReaderLockEv"));
  __tsan_mutex_pre_lock(this, __tsan_mutex_read_lock);
  real(this);
  __tsan_mutex_post_lock(this, __tsan_mutex_read_lock, 1);
}

void Mutex::ReaderUnlock() {
  static const auto real = reinterpret_cast<MutexFn>(Real("5Mutex12ReaderUnlockEv"));
  __tsan_mutex_pre_unlock(this, __tsan_mutex_read_lock);
  real(this);
  __tsan_mutex_post_unlock(this, __tsan_mutex_read_lock);
}

void Mutex::LockWhen(const Condition& condition) {
  static const auto real = reinterpret_cast<AwaitFn>(Real("5Mutex8LockWhenERKNS0_9ConditionE"));
  __tsan_mutex_pre_lock(this, 0);
  real(this, condition);
  __tsan_mutex_post_lock(this, 0, 1);
}

void Mutex::Await(const Condition& condition) {
  static const auto real = reinterpret_cast<AwaitFn>(Real("5Mutex5AwaitERKNS0_9ConditionE"));
  const Waiting waiting(this);
  real(this, condition);
}

// AwaitWithTimeout() calls this one.
bool Mutex::AwaitWithDeadline(const Condition& condition, Time deadline) {
  static const auto real = reinterpret_cast<AwaitDeadlineFn>(
      Real("5Mutex17AwaitWithDeadlineERKNS0_9ConditionENS0_4TimeE"));
  const Waiting waiting(this);
  return real(this, condition, deadline);
}

void CondVar::Wait(Mutex* mu) {
  static const auto real = reinterpret_cast<WaitFn>(Real("7CondVar4WaitEPNS0_5MutexE"));
  const Waiting waiting(mu);
  real(this, mu);
}

bool CondVar::WaitWithTimeout(Mutex* mu, Duration timeout) {
  static const auto real =
      reinterpret_cast<WaitTimeoutFn>(Real("7CondVar15WaitWithTimeoutEPNS0_5MutexENS0_8DurationE"));
  const Waiting waiting(mu);
  return real(this, mu, timeout);
}

bool CondVar::WaitWithDeadline(Mutex* mu, Time deadline) {
  static const auto real =
      reinterpret_cast<WaitDeadlineFn>(Real("7CondVar16WaitWithDeadlineEPNS0_5MutexENS0_4TimeE"));
  const Waiting waiting(mu);
  return real(this, mu, deadline);
}

void Notification::Notify() {
  static const auto real = reinterpret_cast<NotificationFn>(Real("12Notification6NotifyEv"));
  __tsan_release(this);
  real(this);
}

void Notification::WaitForNotification() const {
  static const auto real =
      reinterpret_cast<NotificationFn>(Real("12Notification19WaitForNotificationEv", "K"));
  real(this);
  __tsan_acquire(const_cast<Notification*>(this));
}

ABSL_NAMESPACE_END
}  // namespace absl
