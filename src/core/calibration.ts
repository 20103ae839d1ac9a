export interface TensorCalibration { readonly tokens: number }
