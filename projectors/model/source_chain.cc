#include "projectors/model/source_chain.h"

#include <utility>

namespace sluice::projectors {

StepVerdict TakeStep(const v1::SourceBinding* binding, const v1::ChangeSet& set, Offset offset,
                     v1::SourceState* state) {
  const v1::SourceStep& step = set.step();
  // A set without an id could not be named as the one before the next.
  if (binding == nullptr || step.epoch() != binding->epoch() || set.id().empty() ||
      step.number() != state->number() + 1) {
    return StepVerdict::kStale;
  }
  const bool goes_on = state->number() > 0 && state->epoch() == step.epoch();
  if (step.after() != (goes_on ? state->last_id() : "")) {
    return StepVerdict::kStale;
  }
  if (!goes_on) {
    if (!state->cursor().empty()) {  // of an epoch that came to none the one before it stays
      state->set_former_cursor(std::move(*state->mutable_cursor()));
    }
    state->set_epoch(step.epoch());
    state->set_rows(0);
  }
  state->set_last_id(set.id());
  state->set_number(step.number());
  state->set_cursor(step.cursor());
  state->set_offset(offset.value());
  state->set_rows(state->rows() + static_cast<uint64_t>(set.ops_size()));
  return StepVerdict::kTaken;
}

}  // namespace sluice::projectors
