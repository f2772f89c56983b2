#pragma once

#include <cstdint>
#include <string>

#include "schemas/base/ids.h"
#include "schemas/sluice/v1/events.pb.h"
#include "schemas/sluice/v1/sources.pb.h"

namespace sluice::projectors {

// What names a chain of steps in an organisation: a source, and an entity of it, or "" where the
// source is read as a whole.
struct SourceStream {
  std::string source;
  std::string stream;
  friend auto operator<=>(const SourceStream&, const SourceStream&) = default;
};

// kStale: another set took the step's place, or the source was begun anew or deleted. Nobody's
// error: it is counted, and is no dead letter.
enum class StepVerdict : uint8_t { kTaken, kStale };

// Is `set`, at `offset` of `changes`, the next one of its stream? Compare and set, decided by the
// order of the log alone: of two workers that go on from the same set the first in the log is
// taken, and nothing of the other's. Where it is, `state` becomes what it is from there on,
// whatever becomes of the set's operations. `binding` is the source as the organisation's
// definitions have it at that place, nullptr where there is none; `state` is empty for a stream
// that never had a step. The caller has compared the incarnation. Pure: the fold and whoever
// follows the log call it alike, so that they never disagree.
//
// A state of another epoch counts as one without a set, but for its number, which goes on so that
// versions made of it grow for ever, and its cursor, which becomes `former_cursor`.
[[nodiscard]] StepVerdict TakeStep(const v1::SourceBinding* binding, const v1::ChangeSet& set,
                                   Offset offset, v1::SourceState* state);

}  // namespace sluice::projectors
