// The table of a model's parameters, and optimizer steps over all of it.
#include "ops/optimizer.h"

#include <pybind11/stl.h>

#include <cmath>

#include "python/arrays.h"
#include "python/bind.h"

namespace fastseq {
namespace {

std::string entry(const char* list, std::size_t k) {
  return std::string(list) + "[" + std::to_string(k) + "]";
}

void* data_of(const char* function, const std::string& argument, const py::array& a, bool is_float64) {
  if (is_float64) return writable_elements<double>(function, argument.c_str(), a);
  return writable_elements<float>(function, argument.c_str(), a);
}

// Values and gradients of every parameter; holds references, so the memory outlives the table.
class ParameterTable {
 public:
  ParameterTable(std::vector<py::array> values, std::vector<py::array> gradients,
                 const std::vector<bool>& decays)
      : values_(std::move(values)), gradients_(std::move(gradients)) {
    constexpr const char* function = "ParameterTable";
    for (std::size_t k = 0; k < values_.size(); ++k) {
      const std::string value = entry("values", k), gradient = entry("gradients", k);
      with_float_type(function, value.c_str(), values_[k], [&](auto zero) {
        constexpr bool is_float64 = sizeof(zero) == sizeof(double);
        check_same_shape(function, gradient.c_str(), gradients_[k], value.c_str(), values_[k]);
        segments_.push_back(
            {is_float64, values_[k].size(), decays[k], data_of(function, value, values_[k], is_float64),
             data_of(function, gradient, gradients_[k], is_float64), nullptr, nullptr, nullptr});
      });
    }
  }

  std::size_t size() const { return values_.size(); }

  std::int64_t count() const {
    std::int64_t total = 0;
    for (const Segment& segment : segments_) total += segment.count;
    return total;
  }

  // Fills in one slot of every segment from a sequence of arrays.
  void fill(const char* function, const char* name, const py::object& slot, std::vector<Segment>& segments,
            void* Segment::* member) const {
    const auto arrays = py::cast<py::sequence>(slot);
    check_value(
        arrays.size() == size(), function, name,
        [&] { return "have one array for each of " + std::to_string(size()) + " parameters"; },
        arrays.size());
    for (std::size_t k = 0; k < size(); ++k) {
      const py::object item = arrays[k];
      const std::string argument = entry(name, k);
      check_type(py::isinstance<py::array>(item), function, argument.c_str(), "be an array",
                 [&] { return std::string(py::str(py::type::of(item).attr("__name__"))); });
      const auto array = py::reinterpret_borrow<py::array>(item);
      segments[k].*member = data_of(function, argument, array, segments[k].is_float64);
      check_same_shape(function, argument.c_str(), array, "its parameter", values_[k]);
    }
  }

  const std::vector<Segment>& segments() const { return segments_; }

 private:
  std::vector<py::array> values_, gradients_;
  std::vector<Segment> segments_;
};

// What the steps have in common.
struct Common {
  double learning_rate, weight_decay;
  std::optional<double> clipnorm, clipvalue, global_clipnorm;
  bool clear_gradients;
};

double limit(const char* function, const char* name, const std::optional<double>& value) {
  if (!value) return 0;
  check_value(*value > 0, function, name, "be more than 0", *value);
  return *value;
}

StepSettings settings_of(const char* function, UpdateRule rule, const Common& common) {
  check_value(
      common.clipnorm.has_value() + common.clipvalue.has_value() + common.global_clipnorm.has_value() <= 1,
      function, "clipping", "be one of clipnorm, clipvalue, global_clipnorm", "several");
  check_value(std::isfinite(common.learning_rate), function, "learning_rate", "be finite",
              common.learning_rate);
  StepSettings settings = {};
  settings.rule = rule;
  settings.learning_rate = settings.rate = common.learning_rate;
  settings.weight_decay = common.weight_decay;
  settings.clipnorm = limit(function, "clipnorm", common.clipnorm);
  settings.clipvalue = limit(function, "clipvalue", common.clipvalue);
  settings.global_clipnorm = limit(function, "global_clipnorm", common.global_clipnorm);
  settings.clear_gradients = common.clear_gradients;
  return settings;
}

void run(const ParameterTable& table, const std::vector<Segment>& segments, const StepSettings& settings) {
  const GilDropped dropped(static_cast<double>(table.count()));
  optimizer_step(segments, settings);
}

void check_beta(const char* function, const char* name, double beta) {
  check_value(beta >= 0 && beta < 1, function, name, "be in [0, 1)", beta);
}

void bind_sgd_step(const ParameterTable& table, const Common& common, const py::object& velocities,
                   double momentum, bool nesterov) {
  constexpr const char* function = "sgd_step";
  StepSettings settings =
      settings_of(function, velocities.is_none() ? UpdateRule::sgd : UpdateRule::momentum, common);
  check_value(momentum >= 0 && momentum <= 1, function, "momentum", "be in [0, 1]", momentum);
  check_value(momentum == 0 || !velocities.is_none(), function, "velocities",
              "be given where there is momentum", "None");
  std::vector<Segment> segments = table.segments();
  if (!velocities.is_none()) table.fill(function, "velocities", velocities, segments, &Segment::slot_1);
  settings.momentum = momentum;
  settings.nesterov = nesterov;
  run(table, segments, settings);
}

// The settings of the rules after Adam, checked; `step` counts from 1.
StepSettings adam_settings(const char* function, UpdateRule rule, const Common& common, std::int64_t step,
                           double beta_1, double beta_2, double epsilon) {
  StepSettings settings = settings_of(function, rule, common);
  check_value(step >= 1, function, "step", "be at least 1", step);
  check_beta(function, "beta_1", beta_1);
  check_beta(function, "beta_2", beta_2);
  settings.beta_1 = beta_1;
  settings.beta_2 = beta_2;
  settings.epsilon = epsilon;
  return settings;
}

double unbiased(double beta, std::int64_t step) { return 1 - std::pow(beta, static_cast<double>(step)); }

void bind_adam_step(const ParameterTable& table, const Common& common, const py::object& m,
                    const py::object& v, const py::object& largest, std::int64_t step, double beta_1,
                    double beta_2, double epsilon) {
  constexpr const char* function = "adam_step";
  const UpdateRule rule = largest.is_none() ? UpdateRule::adam : UpdateRule::amsgrad;
  StepSettings settings = adam_settings(function, rule, common, step, beta_1, beta_2, epsilon);
  std::vector<Segment> segments = table.segments();
  table.fill(function, "m", m, segments, &Segment::slot_1);
  table.fill(function, "v", v, segments, &Segment::slot_2);
  if (!largest.is_none()) table.fill(function, "largest", largest, segments, &Segment::slot_3);
  settings.rate = common.learning_rate * std::sqrt(unbiased(beta_2, step)) / unbiased(beta_1, step);
  run(table, segments, settings);
}

void bind_nadam_step(const ParameterTable& table, const Common& common, const py::object& m,
                     const py::object& v, std::int64_t step, double momentum_product, double beta_1,
                     double beta_2, double epsilon) {
  constexpr const char* function = "nadam_step";
  StepSettings settings = adam_settings(function, UpdateRule::nadam, common, step, beta_1, beta_2, epsilon);
  check_value(momentum_product >= 0 && momentum_product < 1, function, "momentum_product", "be in [0, 1)",
              momentum_product);
  std::vector<Segment> segments = table.segments();
  table.fill(function, "m", m, segments, &Segment::slot_1);
  table.fill(function, "v", v, segments, &Segment::slot_2);
  const auto momentum = [&](std::int64_t at) {  // Dozat's schedule
    return beta_1 * (1 - 0.5 * std::pow(0.96, static_cast<double>(at)));
  };
  settings.of_mean = momentum(step + 1) / (1 - momentum_product * momentum(step + 1));
  settings.of_gradient = (1 - momentum(step)) / (1 - momentum_product);
  settings.of_squares = 1 / unbiased(beta_2, step);
  run(table, segments, settings);
}

void bind_adamax_step(const ParameterTable& table, const Common& common, const py::object& m,
                      const py::object& u, std::int64_t step, double beta_1, double beta_2, double epsilon) {
  constexpr const char* function = "adamax_step";
  StepSettings settings = adam_settings(function, UpdateRule::adamax, common, step, beta_1, beta_2, epsilon);
  std::vector<Segment> segments = table.segments();
  table.fill(function, "m", m, segments, &Segment::slot_1);
  table.fill(function, "u", u, segments, &Segment::slot_2);
  settings.rate = common.learning_rate / unbiased(beta_1, step);
  run(table, segments, settings);
}

void bind_adagrad_step(const ParameterTable& table, const Common& common, const py::object& squares,
                       double epsilon) {
  constexpr const char* function = "adagrad_step";
  StepSettings settings = settings_of(function, UpdateRule::adagrad, common);
  std::vector<Segment> segments = table.segments();
  table.fill(function, "squares", squares, segments, &Segment::slot_1);
  settings.epsilon = epsilon;
  run(table, segments, settings);
}

void bind_lion_step(const ParameterTable& table, const Common& common, const py::object& m, double beta_1,
                    double beta_2) {
  constexpr const char* function = "lion_step";
  StepSettings settings = settings_of(function, UpdateRule::lion, common);
  check_value(beta_1 > 0 && beta_1 <= 1, function, "beta_1", "be in (0, 1]", beta_1);
  check_value(beta_2 >= 0 && beta_2 <= 1, function, "beta_2", "be in [0, 1]", beta_2);
  std::vector<Segment> segments = table.segments();
  table.fill(function, "m", m, segments, &Segment::slot_1);
  settings.beta_1 = beta_1;
  settings.beta_2 = beta_2;
  run(table, segments, settings);
}

void bind_rmsprop_step(const ParameterTable& table, const Common& common, const py::object& squares,
                       const py::object& momenta, const py::object& means, double rho, double momentum,
                       double epsilon) {
  constexpr const char* function = "rmsprop_step";
  StepSettings settings = settings_of(function, UpdateRule::rmsprop, common);
  check_value(rho >= 0 && rho <= 1, function, "rho", "be in [0, 1]", rho);
  check_value(momentum >= 0 && momentum <= 1, function, "momentum", "be in [0, 1]", momentum);
  check_value(momentum == 0 || !momenta.is_none(), function, "momenta", "be given where there is momentum",
              "None");
  std::vector<Segment> segments = table.segments();
  table.fill(function, "squares", squares, segments, &Segment::slot_1);
  if (!momenta.is_none()) table.fill(function, "momenta", momenta, segments, &Segment::slot_2);
  if (!means.is_none()) table.fill(function, "means", means, segments, &Segment::slot_3);
  settings.beta_1 = settings.beta_2 = rho;
  settings.momentum = momentum;
  settings.epsilon = epsilon;
  run(table, segments, settings);
}

void bind_average_step(const ParameterTable& table, const py::object& averages, double momentum,
                       bool overwrite) {
  constexpr const char* function = "average_step";
  check_value(momentum >= 0 && momentum <= 1, function, "momentum", "be in [0, 1]", momentum);
  std::vector<Segment> segments = table.segments();
  table.fill(function, "averages", averages, segments, &Segment::slot_1);
  const GilDropped dropped(static_cast<double>(table.count()));
  optimizer_average(segments, momentum, overwrite);
}

// Defines a step: the table, what is its own (as `names`), and what all steps have in common.
template <class... Own, class... Names>
void define_step(py::module_& m, const char* name, void (*step)(const ParameterTable&, const Common&, Own...),
                 const Names&... names) {
  using Limit = std::optional<double>;
  static_assert(sizeof...(Own) == sizeof...(Names));
  m.def(
      name,
      [step](const ParameterTable& table, Own... own, double learning_rate, double weight_decay,
             Limit clipnorm, Limit clipvalue, Limit global_clipnorm, bool clear_gradients) {
        step(table, {learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm, clear_gradients},
             own...);
      },
      py::arg("table"), py::arg(names)..., py::arg("learning_rate"), py::arg("weight_decay"),
      py::arg("clipnorm"), py::arg("clipvalue"), py::arg("global_clipnorm"), py::arg("clear_gradients"));
}

}  // namespace

void bind_optimizer(py::module_& m) {
  py::class_<ParameterTable>(m, "ParameterTable")
      .def(py::init<std::vector<py::array>, std::vector<py::array>, const std::vector<bool>&>(),
           py::arg("values"), py::arg("gradients"), py::arg("decays"))
      .def("__len__", &ParameterTable::size)
      .def_property_readonly("count", &ParameterTable::count, "Numbers in all parameters together.");
  define_step(m, "sgd_step", bind_sgd_step, "velocities", "momentum", "nesterov");
  define_step(m, "adam_step", bind_adam_step, "m", "v", "largest", "step", "beta_1", "beta_2", "epsilon");
  define_step(m, "nadam_step", bind_nadam_step, "m", "v", "step", "momentum_product", "beta_1", "beta_2",
              "epsilon");
  define_step(m, "adamax_step", bind_adamax_step, "m", "u", "step", "beta_1", "beta_2", "epsilon");
  define_step(m, "adagrad_step", bind_adagrad_step, "squares", "epsilon");
  define_step(m, "lion_step", bind_lion_step, "m", "beta_1", "beta_2");
  define_step(m, "rmsprop_step", bind_rmsprop_step, "squares", "momenta", "means", "rho", "momentum",
              "epsilon");
  m.def("average_step", &bind_average_step, py::arg("table"), py::arg("averages"), py::arg("momentum"),
        py::arg("overwrite"));
}

}  // namespace fastseq
