#include <algorithm>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "projectors/rules/expression.h"
#include "schemas/base/status.h"
#include "schemas/field_value.h"
#include "schemas/wire.h"

namespace sluice::projectors {
namespace {

using Kind = Expression::Kind;

// What an operator reads: a literal, the attribute in a slot, or the truth of another step.
struct Input {
  Operand::Kind kind = Operand::Kind::kLiteral;
  uint32_t index = 0;  // of the slot or the step
  FilterValue literal;
};

struct Step {
  Kind kind = Kind::kConstant;
  Truth constant = Truth::kNull;
  Comparison comparison = Comparison::kEq;
  Function function = Function::kContains;
  uint32_t first = 0;  // of its inputs
  uint32_t count = 0;
};

// Attributes that a filter of usual size names fit without an allocation.
using Slots = absl::InlinedVector<FilterValue, 8>;

}  // namespace

struct Condition::Program {
  // The inputs' bytes, one after the other: set aside as a whole before the first is put down, so
  // that they stay where they are. Of the expression itself nothing is kept: each level of it has a
  // text, which is all that is below it.
  std::string bytes;
  std::vector<schemas::Attribute> attributes;  // ascending by id; a slot each
  std::vector<Step> steps;
  std::vector<Input> inputs;
  uint32_t root = 0;

  struct Needs {
    std::vector<std::pair<AttributeId, v1::AttributeType>> attributes;  // some of them repeated
    size_t bytes = 0;
    size_t steps = 0;
    size_t inputs = 0;
  };
  static void Gather(const Expression& expression, Needs& needs);
  uint32_t Compile(const Expression& expression);
  Input MakeInput(const Operand& operand);
  absl::Status Fill(std::string_view row, Slots& slots) const;
  Truth Run(uint32_t index, const Slots& slots) const;
  FilterValue Read(const Input& input, const Slots& slots) const;
};

void Condition::Program::Gather(const Expression& expression, Needs& needs) {
  ++needs.steps;
  needs.inputs += expression.operands.size() + expression.children.size();
  for (const Operand& operand : expression.operands) {
    if (operand.kind == Operand::Kind::kAttribute) {
      needs.attributes.emplace_back(operand.attribute, operand.type);
    } else if (operand.kind == Operand::Kind::kExpression) {
      Gather(*operand.expression, needs);
    } else {
      needs.bytes += operand.literal.bytes.size();
    }
  }
  for (const ExpressionPtr& child : expression.children) {
    Gather(*child, needs);
  }
}

Input Condition::Program::MakeInput(const Operand& operand) {
  Input input;
  input.kind = operand.kind;
  switch (operand.kind) {
    case Operand::Kind::kLiteral:
      input.literal = operand.literal.view();
      input.literal.bytes = {bytes.data() + bytes.size(), operand.literal.bytes.size()};
      bytes.append(operand.literal.bytes);
      break;
    case Operand::Kind::kAttribute: {
      const auto slot = std::lower_bound(
          attributes.begin(), attributes.end(), operand.attribute,
          [](const schemas::Attribute& attribute, AttributeId id) { return attribute.id < id; });
      input.index = static_cast<uint32_t>(slot - attributes.begin());
      break;
    }
    case Operand::Kind::kExpression:
      input.index = Compile(*operand.expression);
      break;
  }
  return input;
}

uint32_t Condition::Program::Compile(const Expression& expression) {
  // Its places first: its operands put down inputs of their own, and a step's lie side by side.
  const size_t first = inputs.size();
  size_t at = first;
  inputs.resize(first + expression.operands.size() + expression.children.size());
  for (const Operand& operand : expression.operands) {
    const Input input = MakeInput(operand);
    inputs[at++] = input;
  }
  for (const ExpressionPtr& child : expression.children) {
    const uint32_t step = Compile(*child);
    inputs[at++] = {Operand::Kind::kExpression, step, {}};
  }
  steps.push_back({expression.kind, expression.constant, expression.comparison, expression.function,
                   static_cast<uint32_t>(first), static_cast<uint32_t>(at - first)});
  return static_cast<uint32_t>(steps.size() - 1);
}

absl::Status Condition::Program::Fill(std::string_view row, Slots& slots) const {
  // A row's fields ascend by id as the slots do, so that one pass fills all; what lies
  // behind the last slot is not looked at.
  slots.resize(attributes.size());
  size_t slot = 0;
  schemas::RowScanner scanner(row);
  while (slot < attributes.size() && scanner.Next()) {
    const schemas::FieldView& field = scanner.field();
    while (slot < attributes.size() && attributes[slot].id < field.id) {
      ++slot;  // stays null
    }
    if (slot == attributes.size() || attributes[slot].id != field.id) {
      continue;
    }
    // Before it is read: a value of another type would be taken for other bytes of the row.
    if (const absl::Status fits = schemas::CheckField(attributes[slot], field); !fits.ok()) {
      return schemas::wire::MalformedRow(std::string("the attribute of id ") +
                                         std::to_string(field.id.value()) + " " +
                                         std::string(Message(fits)));
    }
    slots[slot] = ValueOf(attributes[slot].type, field);
    ++slot;
  }
  return scanner.status();
}

FilterValue Condition::Program::Read(const Input& input, const Slots& slots) const {
  switch (input.kind) {
    case Operand::Kind::kLiteral:
      return input.literal;
    case Operand::Kind::kAttribute:
      return slots[input.index];
    case Operand::Kind::kExpression:
      break;
  }
  FilterValue value;
  const Truth truth = Run(input.index, slots);
  value.family = truth == Truth::kNull ? Family::kNull : Family::kBool;
  value.scalar = truth == Truth::kTrue ? 1 : 0;
  return value;
}

Truth Condition::Program::Run(uint32_t index, const Slots& slots) const {
  const Step& step = steps[index];
  const std::span<const Input> in(inputs.data() + step.first, step.count);
  const auto truth = [](bool value) { return value ? Truth::kTrue : Truth::kFalse; };
  switch (step.kind) {
    case Kind::kAttribute: {
      const FilterValue value = Read(in[0], slots);
      return value.family == Family::kNull ? Truth::kNull : truth(value.scalar != 0);
    }
    case Kind::kCompare:
      return truth(Compare(step.comparison, Read(in[0], slots), Read(in[1], slots)));
    case Kind::kIn: {
      const FilterValue value = Read(in[0], slots);
      return truth(std::any_of(in.begin() + 1, in.end(), [&](const Input& item) {
        return Compare(Comparison::kEq, value, item.literal);
      }));
    }
    case Kind::kCall:
      return Call(step.function, Read(in[0], slots), Read(in[1], slots));
    case Kind::kNot:
      return Not(Run(in[0].index, slots));
    case Kind::kAnd:
    case Kind::kOr: {
      // Null decides nothing: a later operand may, and only where none does the whole is null.
      const Truth decides = truth(step.kind == Kind::kOr);
      Truth result = Not(decides);
      for (const Input& input : in) {
        const Truth one = Run(input.index, slots);
        if (one == decides) {
          return one;
        }
        result = one == Truth::kNull ? one : result;
      }
      return result;
    }
    case Kind::kConstant:
    case Kind::kClaim:
      break;
  }
  return step.constant;
}

Condition::Condition(std::unique_ptr<const Program> program) : program_(std::move(program)) {}

Condition::~Condition() = default;

size_t Condition::searches() const {
  return static_cast<size_t>(std::ranges::count_if(program_->steps, [this](const Step& step) {
    const std::span inputs = std::span(program_->inputs).subspan(step.first, step.count);
    return (step.kind == Kind::kCall && step.function == Function::kContains) ||
           (inputs.size() > 1 && std::ranges::all_of(inputs, [](const Input& input) {
              return input.kind == Operand::Kind::kAttribute;
            }));
  }));
}

absl::StatusOr<bool> Condition::Matches(std::string_view row) const {
  Slots slots;
  RETURN_IF_ERROR(program_->Fill(row, slots));
  return program_->Run(program_->root, slots) == Truth::kTrue;
}

std::shared_ptr<const Condition> CompileCondition(const Expression& expression) {
  // All attributes, once each and in their order, before anything is compiled: operands are given
  // the numbers of their slots.
  auto program = std::make_unique<Condition::Program>();
  Condition::Program::Needs needs;
  Condition::Program::Gather(expression, needs);
  std::ranges::sort(needs.attributes);
  const auto repeated = std::ranges::unique(needs.attributes);
  needs.attributes.erase(repeated.begin(), repeated.end());
  program->attributes.reserve(needs.attributes.size());
  for (const auto& [id, type] : needs.attributes) {
    program->attributes.push_back({id, "", type, ""});
  }
  program->bytes.reserve(needs.bytes);
  program->steps.reserve(needs.steps);
  program->inputs.reserve(needs.inputs);
  program->root = program->Compile(expression);
  return std::make_shared<const Condition>(std::move(program));
}

}  // namespace sluice::projectors
