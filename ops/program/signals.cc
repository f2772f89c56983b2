#include "ops/program/signals.h"

#include <pthread.h>
#include <signal.h>
#include <spdlog/spdlog.h>

#include <utility>

namespace sluice::ops {
namespace {

// The one that Stop() sends to its own thread.
constexpr int kStopSignal = SIGUSR1;

// Whoever started the process may have asked that a hang-up leaves it alone (nohup).
bool HangUpIsLeftAlone() {
  struct sigaction action {};
  sigaction(SIGHUP, nullptr, &action);
  return action.sa_handler == SIG_IGN;
}

sigset_t EndingSignals(SignalWaiter::HangUp hang_up) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  if (hang_up == SignalWaiter::HangUp::kEnds && !HangUpIsLeftAlone()) {
    sigaddset(&set, SIGHUP);
  }
  return set;
}

// Those that are waited for, so that their default, the end of the process, does not come.
sigset_t IdleSignals(SignalWaiter::HangUp hang_up) {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : {kStopSignal, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF, SIGIO}) {
    sigaddset(&set, number);
  }
  for (int number = SIGRTMIN; number <= SIGRTMAX; ++number) {
    sigaddset(&set, number);
  }
  if (hang_up == SignalWaiter::HangUp::kIgnored) {
    sigaddset(&set, SIGHUP);
  }
  return set;
}

// From here on a signal of `ending` ends the process, also one that its parent had ignored.
void LetThemEndTheProcess(const sigset_t& ending) {
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
    if (sigismember(&ending, number) == 1) {
      signal(number, SIG_DFL);
    }
  }
  pthread_sigmask(SIG_UNBLOCK, &ending, nullptr);
}

}  // namespace

SignalWaiter::SignalWaiter(HangUp hang_up) : hang_up_(hang_up) {
  signal(SIGPIPE, SIG_IGN);
  // A file-size limit is a full disk: the write says so.
  signal(SIGXFSZ, SIG_IGN);
  const sigset_t ending = EndingSignals(hang_up_);
  const sigset_t idle = IdleSignals(hang_up_);
  pthread_sigmask(SIG_BLOCK, &ending, nullptr);
  pthread_sigmask(SIG_BLOCK, &idle, nullptr);
}

SignalWaiter::~SignalWaiter() { Stop(); }

void SignalWaiter::OnSignal(std::function<void()> callback) {
  thread_ = std::thread([this, callback = std::move(callback)] { Run(callback); });
}

// Only Stop() ends this thread: it must be there for the second signal, and anybody may send the
// signal that Stop() uses.
void SignalWaiter::Run(const std::function<void()>& callback) {
  const sigset_t ending = EndingSignals(hang_up_);
  sigset_t awaited = IdleSignals(hang_up_);
  sigorset(&awaited, &awaited, &ending);
  while (!stopping_) {
    int number = 0;
    sigwait(&awaited, &number);
    if (stopping_) {
      return;
    }
    if (sigismember(&ending, number) == 1) {
      LetThemEndTheProcess(ending);
      awaited = IdleSignals(hang_up_);
      callback();
    } else if (number == SIGHUP) {
      spdlog::info(
          "signal_ignored signal=SIGHUP hint=\"settings are read at start; a key set that changes "
          "is "
          "read anew without a signal\"");
    } else {
      spdlog::debug("signal_ignored signal={}", number);
    }
  }
}

void SignalWaiter::Stop() {
  if (thread_.joinable()) {
    stopping_ = true;
    pthread_kill(thread_.native_handle(), kStopSignal);
    thread_.join();
    stopping_ = false;
  }
}

}  // namespace sluice::ops
